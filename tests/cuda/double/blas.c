/* A double of cuBLASLt: checks how matrices are described, and multiplies on the host. */
#include <math.h>

#include "numbers.h"

typedef struct Operation {
  int32_t compute, scale, transpose_a, transpose_b, epilogue, scale_a_mode, scale_b_mode;
  uint64_t bias, aux, scale_a, scale_b;
  int64_t aux_leading;
  int8_t fast;
}* Operation;
typedef struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t batch;
  int64_t stride;
}* Layout;
typedef struct Preference {
  uint64_t workspace;
  uint32_t alignment[4];
}* Preference;
typedef struct {
  uint64_t data[8];
} Algorithm;
typedef struct {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
} Heuristic;
typedef struct {
  int device;
}* Handle;

enum { BAD = 7, UNSUPPORTED = 15, WORKSPACE = 1 << 16 };
/* Bits of an epilogue. */
enum { RELU = 2, BIAS = 4, GELU = 32, GELU_GRADIENT = 64, AUX = 128, SUMS_A = 256, SUMS_B = 512 };

EXPORT int cublasLtCreate(Handle* out) {
  BEGIN_ON_DEVICE("cublasLtCreate");
  *out = calloc(1, sizeof **out);
  (*out)->device = current->ordinal;
  return leave(SUCCESS);
}
EXPORT int cublasLtMatmulDescCreate(Operation* out, int compute, int scale) {
  BEGIN("cublasLtMatmulDescCreate");
  *out = calloc(1, sizeof **out);
  (*out)->compute = compute;
  (*out)->scale = scale;
  (*out)->epilogue = 1;
  return leave(SUCCESS);
}
EXPORT int cublasLtMatmulDescSetAttribute(Operation o, int attribute, const void* value,
                                          size_t size) {
  BEGIN("cublasLtMatmulDescSetAttribute");
  const struct {
    int attribute;
    void* field;
    size_t size;
  } all[] = {{3, &o->transpose_a, 4},   {4, &o->transpose_b, 4},   {7, &o->epilogue, 4},
             {8, &o->bias, 8},          {11, &o->aux, 8},          {12, &o->aux_leading, 8},
             {17, &o->scale_a, 8},      {18, &o->scale_b, 8},      {25, &o->fast, 1},
             {31, &o->scale_a_mode, 4}, {32, &o->scale_b_mode, 4}};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) {
    if (all[i].attribute != attribute || all[i].size != size) continue;
    memcpy(all[i].field, value, size);
    return leave(SUCCESS);
  }
  violation("cublasLtMatmulDescSetAttribute: attribute %d of %zu bytes", attribute, size);
  return leave(BAD);
}
EXPORT int cublasLtMatrixLayoutCreate(Layout* out, int type, uint64_t rows, uint64_t columns,
                                      int64_t leading) {
  BEGIN("cublasLtMatrixLayoutCreate");
  if (!rows || !columns || leading < (int64_t)rows) {
    violation("a layout of %lu rows, %lu columns and leading dimension %ld", rows, columns,
              leading);
    return leave(BAD);
  }
  *out = calloc(1, sizeof **out);
  **out = (struct Layout){type, rows, columns, leading, 1, 0};
  return leave(SUCCESS);
}
EXPORT int cublasLtMatrixLayoutSetAttribute(Layout l, int attribute, const void* value,
                                            size_t size) {
  BEGIN("cublasLtMatrixLayoutSetAttribute");
  if (attribute == 5 && size == 4) {
    memcpy(&l->batch, value, 4);
  } else if (attribute == 6 && size == 8) {
    memcpy(&l->stride, value, 8);
  } else {
    violation("cublasLtMatrixLayoutSetAttribute: attribute %d of %zu bytes", attribute, size);
    return leave(BAD);
  }
  return leave(SUCCESS);
}
EXPORT int cublasLtMatmulPreferenceCreate(Preference* out) {
  BEGIN("cublasLtMatmulPreferenceCreate");
  *out = calloc(1, sizeof **out);
  for (int i = 0; i < 4; ++i) (*out)->alignment[i] = 256;
  return leave(SUCCESS);
}
EXPORT int cublasLtMatmulPreferenceSetAttribute(Preference p, int attribute, const void* value,
                                                size_t size) {
  BEGIN("cublasLtMatmulPreferenceSetAttribute");
  if (attribute == 1 && size == 8) {
    memcpy(&p->workspace, value, 8);
  } else if (attribute >= 5 && attribute <= 8 && size == 4) {
    memcpy(&p->alignment[attribute - 5], value, 4);
  } else {
    violation("cublasLtMatmulPreferenceSetAttribute: attribute %d of %zu bytes", attribute, size);
    return leave(BAD);
  }
  return leave(SUCCESS);
}
EXPORT int cublasLtMatmulPreferenceDestroy(Preference p) {
  free(p);
  return SUCCESS;
}

static int is_float8(int type) { return type == R_8F_E4M3 || type == R_8F_E5M2; }
/* What the library says of 8-bit floats: A is transposed and B isn't, sizes are multiples of 16. */
static int fits_float8(Operation o, Layout a, Layout b, Layout d) {
  return is_float8(b->type) && (a->type == R_8F_E4M3 || b->type == R_8F_E4M3) && o->transpose_a &&
         !o->transpose_b && a->rows % 16 == 0 && a->columns % 16 == 0 && a->leading % 16 == 0 &&
         b->leading % 16 == 0 && o->compute == 68 && o->scale_a_mode == o->scale_b_mode &&
         (d->type == R_32F || d->type == R_16F || d->type == R_16BF) &&
         !((o->epilogue & BIAS) && d->type == R_32F);
}

/* An epilogue that there is, and what it needs. */
static int fits_epilogue(Operation o, Layout d) {
  static const int known[] = {1,        RELU,
                              BIAS,     RELU | BIAS,
                              GELU,     GELU | BIAS,
                              GELU | AUX,
                              SUMS_A,   GELU | AUX | BIAS,
                              SUMS_B,   GELU_GRADIENT | AUX};
  int found = 0;
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) found |= o->epilogue == known[i];
  const int reads_bias = o->epilogue & (BIAS | SUMS_A | SUMS_B);
  return found && (!reads_bias || o->bias) &&
         (!(o->epilogue & AUX) ||
          (o->aux && o->aux_leading % 8 == 0 && o->aux_leading >= (int64_t)d->rows && d->batch == 1));
}
static uint32_t alignment(uint64_t address) {
  return address ? (address & -address) < 256 ? address & -address : 256 : 256;
}

/* Whether the four matrices go together. */
static int fits(Operation o, Layout a, Layout b, Layout c, Layout d) {
  const uint64_t m = o->transpose_a ? a->columns : a->rows,
                 ka = o->transpose_a ? a->rows : a->columns,
                 kb = o->transpose_b ? b->columns : b->rows,
                 n = o->transpose_b ? b->rows : b->columns;
  return ka == kb && d->rows == m && d->columns == n && c->rows == m && c->columns == n &&
         a->batch == d->batch && b->batch == d->batch && c->batch == d->batch;
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(Handle h, Operation o, Layout a, Layout b, Layout c,
                                          Layout d, Preference p, int wanted, Heuristic* out,
                                          int* found) {
  BEGIN("cublasLtMatmulAlgoGetHeuristic");
  (void)h;
  *found = 0;
  if (!fits(o, a, b, c, d) || !fits_epilogue(o, d) || wanted < 1) {
    violation("cublasLtMatmulAlgoGetHeuristic: the matrices or the epilogue don't go together");
    return leave(BAD);
  }
  const int scale = a->type == R_64F || a->type == C_32F || a->type == C_64F ? a->type : R_32F;
  const int compute = a->type == R_64F || a->type == C_64F;
  if (o->scale != scale || (o->compute == 70) != compute) return leave(UNSUPPORTED);
  if (o->epilogue != 1 && compute) return leave(UNSUPPORTED);
  if (is_float8(a->type) && !fits_float8(o, a, b, d)) return leave(UNSUPPORTED);
  *found = 1;
  memset(out, 0, sizeof *out);
  for (int i = 0; i < 4; ++i) out->algorithm.data[i] = p->alignment[i];
  out->algorithm.data[4] = 0x616c676f;
  out->algorithm.data[5] = alignment(o->bias);  /* taken from where the pointers are */
  out->algorithm.data[6] = alignment(o->aux);
  out->workspace = p->workspace < WORKSPACE ? p->workspace : WORKSPACE;
  return leave(SUCCESS);
}

struct Product {
  struct Operation o;
  struct Layout a, b, c, d;
  number alpha, beta;
  CUdeviceptr at[4];
};

static double gelu(double x) {
  return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}
static double gelu_slope(double x) {
  const double t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) +
         0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
}

static void multiply(void* about) {
  const struct Product* p = about;
  const Layout layouts[] = {(Layout)&p->a, (Layout)&p->b, (Layout)&p->c, (Layout)&p->d};
  char* at[4];
  for (int i = 0; i < 4; ++i) at[i] = reach(p->at[i], 1, NULL);
  const int64_t k = p->o.transpose_a ? p->a.rows : p->a.columns;
  const int epilogue = p->o.epilogue;
  char* bias = epilogue & (BIAS | SUMS_A | SUMS_B) ? reach(p->o.bias, 1, NULL) : NULL;
  char* aux = epilogue & AUX ? reach(p->o.aux, 1, NULL) : NULL;
  const float *scale_a = p->o.scale_a ? (float*)reach(p->o.scale_a, 4, NULL) : NULL,
              *scale_b = p->o.scale_b ? (float*)reach(p->o.scale_b, 4, NULL) : NULL;
  for (int64_t batch = 0; batch < p->d.batch; ++batch) {
    char* of[4];
    for (int i = 0; i < 4; ++i) {
      of[i] = at[i] + batch * layouts[i]->stride * (int64_t)size_of(layouts[i]->type);
    }
    for (int64_t j = 0; j < (int64_t)p->d.columns; ++j) {
      for (int64_t i = 0; i < (int64_t)p->d.rows; ++i) {
        number sum = 0;
        for (int64_t l = 0; l < k; ++l) {
          sum +=
              get(of[0], p->a.type,
                  p->o.transpose_a ? l + i * p->a.leading : i + l * p->a.leading) *
              get(of[1], p->b.type, p->o.transpose_b ? j + l * p->b.leading : l + j * p->b.leading);
        }
        if (scale_a) sum *= scale_a[p->o.scale_a_mode == 3 ? i : 0];
        if (scale_b) sum *= scale_b[p->o.scale_b_mode == 3 ? j : 0];
        sum *= p->alpha;
        if (p->beta != 0) sum += p->beta * get(of[2], p->c.type, i + j * p->c.leading);
        if (epilogue & BIAS) sum += get(bias, p->d.type, i);
        if (aux && epilogue & GELU) put(aux, p->d.type, i + j * p->o.aux_leading, sum);
        if (epilogue & RELU) sum = creal(sum) > 0 ? sum : 0;
        if (epilogue & GELU) sum = gelu(creal(sum));
        if (epilogue & GELU_GRADIENT)
          sum *= gelu_slope(creal(get(aux, p->d.type, i + j * p->o.aux_leading)));
        put(of[3], p->d.type, i + j * p->d.leading, sum);
      }
    }
  }
  if (!(epilogue & (SUMS_A | SUMS_B))) return;
  const struct Layout* of = epilogue & SUMS_A ? &p->a : &p->b;
  const int transposed = epilogue & SUMS_A ? p->o.transpose_a : p->o.transpose_b;
  const int by_rows = epilogue & SUMS_A ? !transposed : transposed; /* a sum for each row in memory */
  const int64_t count = by_rows ? of->rows : of->columns;
  for (int64_t i = 0; i < count; ++i) {
    number sum = 0;
    for (int64_t l = 0; l < k; ++l) {
      sum += get(at[epilogue & SUMS_A ? 0 : 1], of->type,
                 by_rows ? i + l * of->leading : l + i * of->leading);
    }
    put(bias, p->d.type, i, sum);
  }
}

/* The bytes from the first element to the last. */
static size_t extent(Layout l) {
  return ((l->batch - 1) * l->stride + (l->columns - 1) * l->leading + l->rows) * size_of(l->type);
}

enum { EPILOGUES = 1024 };
static long epilogues[EPILOGUES];
/* How many products had an epilogue of these bits. */
EXPORT long double_epilogues(int bits) { return epilogues[bits]; }

EXPORT int cublasLtMatmul(Handle h, Operation o, const void* alpha, CUdeviceptr a, Layout la,
                          CUdeviceptr b, Layout lb, const void* beta, CUdeviceptr c, Layout lc,
                          CUdeviceptr d, Layout ld, const Algorithm* algorithm,
                          CUdeviceptr workspace, size_t bytes, CUstream stream) {
  BEGIN_ON_DEVICE("cublasLtMatmul");
  const char* const name = "cublasLtMatmul";
  struct Product p = {
      *o, *la, *lb, *lc, *ld, get(alpha, o->scale, 0), get(beta, o->scale, 0), {a, b, c, d}};
  if (o->epilogue < EPILOGUES) ++epilogues[o->epilogue];
  if (h->device != current->ordinal) violation("%s: the handle is another device's", name);
  if (!fits(o, la, lb, lc, ld)) violation("%s: the matrices don't go together", name);
  const Layout layouts[] = {la, lb, lc, ld};
  const char* const names[] = {"A", "B", "C", "D"};
  for (int i = 0; i < 4; ++i) {
    if (!checked_reach(name, names[i], p.at[i], extent(layouts[i]))) return leave(BAD);
    if (algorithm->data[4] != 0x616c676f || p.at[i] % algorithm->data[i]) {
      violation("%s: %s is not aligned as the algorithm was asked for", name, names[i]);
    }
  }
  const int with_bias = o->epilogue & (BIAS | SUMS_A | SUMS_B), with_aux = o->epilogue & AUX;
  const uint64_t lines = o->epilogue & SUMS_B ? ld->columns : ld->rows;
  const uint64_t last = (ld->columns - 1) * o->aux_leading + ld->rows;
  if ((with_bias && !checked_reach(name, "the bias", o->bias, lines * size_of(ld->type))) ||
      (with_aux && !checked_reach(name, "the aux", o->aux, last * size_of(ld->type)))) {
    return leave(BAD);
  }
  if (!fits_epilogue(o, ld) || (with_bias && o->bias % algorithm->data[5]) ||
      (with_aux && o->aux % algorithm->data[6])) {
    violation("%s: the epilogue is not what the algorithm was asked for", name);
  }
  if (is_float8(la->type) &&
      (!checked_reach(name, "A's scales", o->scale_a, o->scale_a_mode == 3 ? 4 * ld->rows : 4) ||
       !checked_reach(name, "B's scales", o->scale_b, o->scale_b_mode == 3 ? 4 * ld->columns : 4)))
    return leave(BAD);
  if (bytes < WORKSPACE || !checked_reach(name, "the workspace", workspace, bytes)) {
    violation("%s: the workspace is too small", name);
    return leave(BAD);
  }
  const CUdeviceptr uses[8] = {
      a, b, c, d, workspace, with_bias ? o->bias : 0, with_aux ? o->aux : 0};
  return leave(enqueue_call(stream, multiply, &p, sizeof p, uses));
}
