/* A double of cuBLASLt: checks how matrices are described, and multiplies on the host. */
#include <math.h>

#include "numbers.h"

typedef struct Operation {
  int32_t compute, scale, transpose_a, transpose_b, epilogue, scale_a_mode, scale_b_mode;
  uint64_t bias, scale_a, scale_b;
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
  } all[] = {{3, &o->transpose_a, 4}, {4, &o->transpose_b, 4},   {7, &o->epilogue, 4},
             {8, &o->bias, 8},        {17, &o->scale_a, 8},      {18, &o->scale_b, 8},
             {25, &o->fast, 1},       {31, &o->scale_a_mode, 4}, {32, &o->scale_b_mode, 4}};
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
         !((o->epilogue & 4) && d->type == R_32F);
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
  if (!fits(o, a, b, c, d) || wanted < 1) {
    violation("cublasLtMatmulAlgoGetHeuristic: the matrices don't go together");
    return leave(BAD);
  }
  const int scale = a->type == R_64F || a->type == C_32F || a->type == C_64F ? a->type : R_32F;
  const int compute = a->type == R_64F || a->type == C_64F;
  if (o->scale != scale || (o->compute == 70) != compute) return leave(UNSUPPORTED);
  if ((o->epilogue & 4) && compute) return leave(UNSUPPORTED);
  if (is_float8(a->type) && !fits_float8(o, a, b, d)) return leave(UNSUPPORTED);
  *found = 1;
  memset(out, 0, sizeof *out);
  for (int i = 0; i < 4; ++i) out->algorithm.data[i] = p->alignment[i];
  out->algorithm.data[4] = 0x616c676f;
  out->workspace = p->workspace < WORKSPACE ? p->workspace : WORKSPACE;
  return leave(SUCCESS);
}

struct Product {
  struct Operation o;
  struct Layout a, b, c, d;
  number alpha, beta;
  CUdeviceptr at[4];
};

static double activated(double x, int epilogue) {
  if (epilogue & 2) return x > 0 ? x : 0;
  if (epilogue & 32) return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
  return x;
}

static void multiply(void* about) {
  const struct Product* p = about;
  const Layout layouts[] = {(Layout)&p->a, (Layout)&p->b, (Layout)&p->c, (Layout)&p->d};
  char* at[4];
  for (int i = 0; i < 4; ++i) at[i] = reach(p->at[i], 1, NULL);
  const int64_t k = p->o.transpose_a ? p->a.rows : p->a.columns;
  const char* bias = p->o.epilogue & 4 ? reach(p->o.bias, 1, NULL) : NULL;
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
        if (bias) sum += get(bias, p->d.type, i);
        if (p->o.epilogue & 34) sum = activated(creal(sum), p->o.epilogue);
        put(of[3], p->d.type, i + j * p->d.leading, sum);
      }
    }
  }
}

/* The bytes from the first element to the last. */
static size_t extent(Layout l) {
  return ((l->batch - 1) * l->stride + (l->columns - 1) * l->leading + l->rows) * size_of(l->type);
}

EXPORT int cublasLtMatmul(Handle h, Operation o, const void* alpha, CUdeviceptr a, Layout la,
                          CUdeviceptr b, Layout lb, const void* beta, CUdeviceptr c, Layout lc,
                          CUdeviceptr d, Layout ld, const Algorithm* algorithm,
                          CUdeviceptr workspace, size_t bytes, CUstream stream) {
  BEGIN_ON_DEVICE("cublasLtMatmul");
  const char* const name = "cublasLtMatmul";
  struct Product p = {
      *o, *la, *lb, *lc, *ld, get(alpha, o->scale, 0), get(beta, o->scale, 0), {a, b, c, d}};
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
  if ((o->epilogue & 4) &&
      !checked_reach(name, "the bias", o->bias, ld->rows * size_of(ld->type))) {
    return leave(BAD);
  }
  if (is_float8(la->type) &&
      (!checked_reach(name, "A's scales", o->scale_a, o->scale_a_mode == 3 ? 4 * ld->rows : 4) ||
       !checked_reach(name, "B's scales", o->scale_b, o->scale_b_mode == 3 ? 4 * ld->columns : 4)))
    return leave(BAD);
  if (bytes < WORKSPACE || !checked_reach(name, "the workspace", workspace, bytes)) {
    violation("%s: the workspace is too small", name);
    return leave(BAD);
  }
  const CUdeviceptr uses[8] = {a, b, c, d, workspace, o->epilogue & 4 ? o->bias : 0};
  return leave(enqueue_call(stream, multiply, &p, sizeof p, uses));
}
