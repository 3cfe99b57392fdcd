/* A double of cuDNN's graphs: descriptors keep what is set, and a plan of one convolution, or of
 * products, reductions and functions of elements, is carried out on the host. */
#include "numbers.h"

enum { BAD = 2000, UNSUPPORTED = 3000, MOST_ATTRIBUTES = 16, WORKSPACE = 512 };
enum {
  CONVOLUTION = 1,
  ENGINE,
  CONFIG,
  HEURISTICS,
  PLAN,
  FORWARD = 10,
  BY_WEIGHT,
  BY_INPUT,
  POINTWISE = 13,
  GRAPH = 15,
  PACK,
  TENSOR,
  MATMUL = 19,
  REDUCTION = 22,
  RESHAPE = 31
};

struct Attribute {
  int name, type;
  int64_t count;
  union {
    int64_t longs[64];
    void* pointers[64];
    int ints[64];
    float floats[64];
    double doubles[64];
    char flags[64];
  };
};
typedef struct Descriptor {
  int kind, finalized, count;
  struct Attribute attributes[MOST_ATTRIBUTES];
}* Descriptor;
typedef struct {
  int device;
  CUstream stream;
}* Handle;

EXPORT int cudnnCreate(Handle* out) {
  BEGIN_ON_DEVICE("cudnnCreate");
  *out = calloc(1, sizeof **out);
  (*out)->device = current->ordinal;
  return leave(SUCCESS);
}
EXPORT size_t cudnnGetVersion(void) { return 91300; }
EXPORT int cudnnSetStream(Handle h, CUstream s) {
  h->stream = s;
  return SUCCESS;
}
EXPORT int cudnnBackendCreateDescriptor(int kind, Descriptor* out) {
  *out = calloc(1, sizeof **out);
  (*out)->kind = kind;
  return SUCCESS;
}
EXPORT int cudnnBackendDestroyDescriptor(Descriptor d) {
  free(d);
  return SUCCESS;
}

static size_t width(int type) {
  return type == 2 ? 1 : type == 3 || type == 0 || type == 5 || type == 6 || type == 15 ? 8 : 4;
}
static const struct Attribute* attribute(Descriptor d, int name, int type) {
  for (int i = 0; i < d->count; ++i) {
    if (d->attributes[i].name == name && d->attributes[i].type == type) return &d->attributes[i];
  }
  return NULL;
}

EXPORT int cudnnBackendSetAttribute(Descriptor d, int name, int type, int64_t count,
                                    const void* values) {
  BEGIN("cudnnBackendSetAttribute");
  if (d->finalized || d->count == MOST_ATTRIBUTES || count > 64) {
    violation("cudnnBackendSetAttribute: attribute %d of a descriptor of kind %d", name, d->kind);
    return leave(BAD);
  }
  struct Attribute* a = &d->attributes[d->count++];
  a->name = name;
  a->type = type;
  a->count = count;
  memcpy(a->longs, values, count * width(type));
  if (type == 15) {
    for (int64_t i = 0; i < count; ++i) {
      if (!((Descriptor)a->pointers[i])->finalized) violation("attribute %d isn't finalized", name);
    }
  }
  return leave(SUCCESS);
}

static Descriptor descriptor(Descriptor d, int name) {
  const struct Attribute* a = attribute(d, name, 15);
  return a ? a->pointers[0] : NULL;
}

/* What each kind must have: names and types. */
static int complete(Descriptor d) {
  static const int needs[][9] = {
      {TENSOR, 900, 3, 901, 1, 902, 3, 903, 3},
      {TENSOR, 906, 3},
      {CONVOLUTION, 100, 1, 101, 7, 102, 3, 103, 3},
      {CONVOLUTION, 104, 3, 105, 3, 106, 3},
      {FORWARD, 702, 15, 703, 15, 704, 15, 705, 15},
      {BY_INPUT, 708, 15, 709, 15, 710, 15, 711, 15},
      {BY_WEIGHT, 714, 15, 715, 15, 716, 15, 717, 15},
      {POINTWISE, 750, 15, 751, 15, 753, 15},
      {MATMUL, 1520, 15, 1521, 15, 1522, 15, 1523, 15},
      {REDUCTION, 1610, 15, 1611, 15, 1612, 15},
      {RESHAPE, 2200, 15, 2201, 15},
      {GRAPH, 800, 0, 801, 15},
      {HEURISTICS, 200, 8, 201, 15},
      {PLAN, 400, 0, 401, 15},
      {PACK, 1000, 3, 1001, 6, 1003, 6},
  };
  for (size_t i = 0; i < sizeof needs / sizeof *needs; ++i) {
    if (needs[i][0] != d->kind) continue;
    for (int k = 1; k < 9 && needs[i][k]; k += 2) {
      if (!attribute(d, needs[i][k], needs[i][k + 1])) return 0;
    }
  }
  return 1;
}

EXPORT int cudnnBackendFinalize(Descriptor d) {
  BEGIN("cudnnBackendFinalize");
  if (!complete(d)) {
    violation("cudnnBackendFinalize: a descriptor of kind %d lacks an attribute", d->kind);
    return leave(BAD);
  }
  d->finalized = 1;
  return leave(SUCCESS);
}

EXPORT int cudnnBackendGetAttribute(Descriptor d, int name, int type, int64_t most, int64_t* count,
                                    void* out) {
  BEGIN("cudnnBackendGetAttribute");
  *count = 1;
  if (d->kind == HEURISTICS && name == 202 && type == 15) { /* the first is not reproducible */
    *count = most < 2 ? most : 2;
    for (int i = 0; i < *count; ++i) {
      Descriptor config = ((Descriptor*)out)[i];
      config->finalized = 1;
      config->attributes[0] = (struct Attribute){.name = -1, .type = 15, .count = 1};
      config->attributes[0].pointers[0] = descriptor(d, 201);
      config->attributes[1] = (struct Attribute){.name = -2, .count = 1};
      config->attributes[1].longs[0] = i;
      config->count = 2;
    }
  } else if (d->kind == CONFIG && name == 300 && type == 15) {
    Descriptor engine = ((Descriptor*)out)[0];
    engine->attributes[0] = d->attributes[1];
    engine->count = engine->finalized = 1;
  } else if (d->kind == ENGINE && name == 1303 && type == 11) {
    const int64_t rank = d->attributes[0].longs[0];
    *(int*)out = 4; /* not deterministic */
    *count = rank == 0;
  } else if (d->kind == PLAN && name == 402 && type == 3) {
    *(int64_t*)out = WORKSPACE;
  } else {
    violation("cudnnBackendGetAttribute: attribute %d of a descriptor of kind %d", name, d->kind);
    return leave(BAD);
  }
  return leave(SUCCESS);
}

struct Shape {
  int type, rank, virtual;
  int64_t uid, sizes[8], strides[8], bytes, alignment;
};
static struct Shape shape(Descriptor d) {
  static const int types[] = {R_32F, R_64F, R_16F, -1, R_32I, -1, -1, -1, -1, R_16BF, -1, R_32I};
  const struct Attribute *sizes = attribute(d, 902, 3), *strides = attribute(d, 903, 3);
  struct Shape s = {.type = types[attribute(d, 901, 1)->ints[0]],
                    .rank = (int)sizes->count,
                    .virtual = attribute(d, 907, 2) != NULL,
                    .uid = attribute(d, 906, 3)->longs[0],
                    .alignment = attribute(d, 900, 3)->longs[0]};
  int64_t last = 0;
  for (int i = 0; i < s.rank; ++i) {
    s.sizes[i] = sizes->longs[i];
    s.strides[i] = strides->longs[i];
    last += (s.sizes[i] - 1) * s.strides[i];
  }
  s.bytes = (last + 1) * size_of(s.type);
  return s;
}

struct Convolution {
  int kind;
  struct Shape x, w, y;
  int64_t stride[3], padding[3], dilation[3];
  CUdeviceptr at[3];
};

/* The result and its weight for all of (n, k, c, output place, window place). */
static void convolve(void* about) {
  const struct Convolution* c = about;
  const struct Shape *x = &c->x, *w = &c->w, *y = &c->y;
  char *px = reach(c->at[0], 1, NULL), *pw = reach(c->at[1], 1, NULL),
       *py = reach(c->at[2], 1, NULL);
  const int space = x->rank - 2;
  const struct Shape* result = c->kind == FORWARD ? y : c->kind == BY_INPUT ? x : w;
  char* out = c->kind == FORWARD ? py : c->kind == BY_INPUT ? px : pw;
  int64_t last = result->bytes / size_of(result->type);
  double* sums = calloc(last, sizeof *sums);
  const int64_t groups = x->sizes[1] / w->sizes[1], outs = w->sizes[0] / groups;
  int64_t places = 1, window = 1;
  for (int d = 0; d < space; ++d) {
    places *= y->sizes[2 + d];
    window *= w->sizes[2 + d];
  }
  for (int64_t n = 0; n < x->sizes[0]; ++n)
    for (int64_t k = 0; k < w->sizes[0]; ++k)
      for (int64_t i = 0; i < w->sizes[1]; ++i)
        for (int64_t o = 0; o < places; ++o)
          for (int64_t u = 0; u < window; ++u) {
            int64_t at_x = n * x->strides[0] + (k / outs * w->sizes[1] + i) * x->strides[1];
            int64_t at_w = k * w->strides[0] + i * w->strides[1];
            int64_t at_y = n * y->strides[0] + k * y->strides[1];
            int inside = 1;
            for (int64_t d = space - 1, ro = o, ru = u; d >= 0; --d) {
              const int64_t po = ro % y->sizes[2 + d], pu = ru % w->sizes[2 + d];
              ro /= y->sizes[2 + d];
              ru /= w->sizes[2 + d];
              const int64_t p = po * c->stride[d] - c->padding[d] + pu * c->dilation[d];
              inside &= p >= 0 && p < x->sizes[2 + d];
              at_x += p * x->strides[2 + d];
              at_w += pu * w->strides[2 + d];
              at_y += po * y->strides[2 + d];
            }
            if (!inside) continue;
            if (c->kind == FORWARD)
              sums[at_y] += creal(get(px, x->type, at_x)) * creal(get(pw, w->type, at_w));
            else if (c->kind == BY_INPUT)
              sums[at_x] += creal(get(py, y->type, at_y)) * creal(get(pw, w->type, at_w));
            else
              sums[at_w] += creal(get(px, x->type, at_x)) * creal(get(py, y->type, at_y));
          }
  for (int64_t i = 0; i < last; ++i) put(out, result->type, i, sums[i]);
  free(sums);
}

/* ---- Graphs of several operations ---- */

enum { MOST_STEPS = 32, MOST_TENSORS = 64 };
struct Step {
  int kind, mode, axis;
  int of[4]; /* the tensors x, b, t and the result; -1: none */
};
struct Run {
  int steps, tensors;
  struct Step step[MOST_STEPS];
  struct Shape shape[MOST_TENSORS];
  CUdeviceptr at[MOST_TENSORS];
  int constant[MOST_TENSORS];
  float value[MOST_TENSORS];
};
typedef struct {
  int64_t n[4];
  double* x; /* null: nothing has been written */
} Block;

static int64_t total(const int64_t* n) { return n[0] * n[1] * n[2] * n[3]; }
static double element(Block b, const int64_t* at) { /* a dim of one element is all of them */
  int64_t i = 0;
  for (int d = 0; d < 4; ++d) i = i * b.n[d] + (b.n[d] == 1 ? 0 : at[d]);
  return b.x[i];
}
static void place(const int64_t* n, int64_t i, int64_t* at) {
  for (int d = 3; d >= 0; --d) {
    at[d] = i % n[d];
    i /= n[d];
  }
}
static double point(int mode, double x, double b, double t) {
  switch (mode) {
    case 0: return x + b;
    case 1: return x * b;
    case 6: return x / b;
    case 9: return x - b;
    case 13: return exp(x);
    case 15: return log(x);
    case 21: return x;
    case 303: return x >= b;
    case 601: return t ? x : b;
    default: violation("pointwise operation %d", mode); return 0;
  }
}

static Block computed(const struct Step* s, Block x, Block b, Block t, const int64_t* n) {
  Block y = {{n[0], n[1], n[2], n[3]}, calloc(total(n), sizeof(double))};
  if (s->kind == REDUCTION && s->mode) {
    for (int64_t i = 0; i < total(n); ++i) y.x[i] = -INFINITY;
  }
  int64_t at[4];
  if (s->kind == REDUCTION) {
    for (int64_t i = 0; i < total(x.n); ++i) {
      place(x.n, i, at);
      int64_t to = 0;
      for (int d = 0; d < 4; ++d) to = to * n[d] + (n[d] == 1 ? 0 : at[d]);
      y.x[to] = s->mode ? fmax(y.x[to], x.x[i]) : y.x[to] + x.x[i];
    }
    return y;
  }
  if (s->kind == MATMUL && (x.n[3] != b.n[2] || x.n[1] % b.n[1] || x.n[2] != n[2])) {
    violation("matmul: (%ld, %ld) by (%ld, %ld)", x.n[2], x.n[3], b.n[2], b.n[3]);
    return y;
  }
  if (s->kind == RESHAPE && (x.n[2] != n[3] || x.n[3] != n[2])) {
    violation("reshape: no transpose");
    return y;
  }
  for (int64_t i = 0; i < total(n); ++i) {
    place(n, i, at);
    if (s->kind == MATMUL) {
      for (int64_t k = 0; k < x.n[3]; ++k) {
        const int64_t left[4] = {at[0], at[1], at[2], k},
                      right[4] = {at[0], at[1] / (x.n[1] / b.n[1]), k, at[3]};
        y.x[i] += element(x, left) * element(b, right);
      }
    } else if (s->kind == RESHAPE) {
      const int64_t turned[4] = {at[0], at[1], at[3], at[2]};
      y.x[i] = element(x, turned);
    } else if (s->mode == 501) {
      y.x[i] = (double)at[s->axis];
    } else {
      y.x[i] = point(s->mode, element(x, at), b.x ? element(b, at) : 0, t.x ? element(t, at) : 0);
    }
  }
  return y;
}

static void evaluate(void* about) {
  const struct Run* r = about;
  Block of[MOST_TENSORS] = {0};
  for (int i = 0; i < r->tensors; ++i) { /* what is given */
    const struct Shape* s = &r->shape[i];
    memcpy(of[i].n, s->sizes, sizeof of[i].n);
    if (s->virtual) continue;
    of[i].x = calloc(total(s->sizes), sizeof(double));
    const char* memory = r->constant[i] ? NULL : reach(r->at[i], 1, NULL);
    for (int64_t k = 0, at[4]; k < total(s->sizes); ++k) {
      place(s->sizes, k, at);
      int64_t offset = 0;
      for (int d = 0; d < 4; ++d) offset += at[d] * s->strides[d];
      of[i].x[k] = r->constant[i] ? r->value[i] : creal(get(memory, s->type, offset));
    }
  }
  for (int n = 0; n < r->steps; ++n) {
    const struct Step* s = &r->step[n];
    Block in[3] = {0};
    for (int k = 0; k < 3; ++k) {
      if (s->of[k] < 0) continue;
      in[k] = of[s->of[k]];
      if (!in[k].x) return violation("operation %d reads what isn't computed yet", n);
    }
    const struct Shape* to = &r->shape[s->of[3]];
    Block y = computed(s, in[0], in[1], in[2], to->sizes);
    char* memory = to->virtual ? calloc(total(y.n), 8) : reach(r->at[s->of[3]], 1, NULL);
    for (int64_t k = 0, at[4]; k < total(y.n); ++k) { /* rounded to the type it has */
      place(y.n, k, at);
      int64_t offset = k;
      if (!to->virtual) {
        offset = 0;
        for (int d = 0; d < 4; ++d) offset += at[d] * to->strides[d];
      }
      put(memory, to->type, offset, y.x[k]);
      y.x[k] = creal(get(memory, to->type, offset));
    }
    if (to->virtual) free(memory);
    free(of[s->of[3]].x);
    of[s->of[3]] = y;
  }
  for (int i = 0; i < r->tensors; ++i) free(of[i].x);
}

static int tensor_of(struct Run* r, Descriptor d, Descriptor pack) {
  if (!d) return -1;
  const struct Shape s = shape(d);
  for (int i = 0; i < r->tensors; ++i) {
    if (r->shape[i].uid == s.uid) return i;
  }
  const int i = r->tensors++;
  r->shape[i] = s;
  const struct Attribute *uids = attribute(pack, 1000, 3), *pointers = attribute(pack, 1001, 6);
  for (int64_t k = 0; k < uids->count && !s.virtual; ++k) {
    if (uids->longs[k] != s.uid) continue;
    r->constant[i] = attribute(d, 908, 2) != NULL;
    if (r->constant[i]) r->value[i] = *(float*)pointers->pointers[k];
    r->at[i] = (CUdeviceptr)pointers->pointers[k];
  }
  return i;
}

static int run_graph(Handle h, Descriptor graph, Descriptor pack) {
  const char* const name = "cudnnBackendExecute";
  static const struct {
    int kind, x, b, t, y, about, mode, type;
  } forms[] = {{POINTWISE, 751, 752, 758, 753, 750, 0, 14},
               {MATMUL, 1520, 1521, 0, 1522, 1523, 0, 0},
               {REDUCTION, 1610, 0, 0, 1611, 1612, 1600, 18},
               {RESHAPE, 2200, 0, 0, 2201, 0, 0, 0}};
  const struct Attribute* operations = attribute(graph, 801, 15);
  struct Run r = {0};
  for (int64_t i = 0; i < operations->count && i < MOST_STEPS; ++i) {
    Descriptor o = operations->pointers[i];
    for (size_t f = 0; f < sizeof forms / sizeof *forms; ++f) {
      if (forms[f].kind != o->kind) continue;
      struct Step* s = &r.step[r.steps++];
      s->kind = o->kind;
      const int names[4] = {forms[f].x, forms[f].b, forms[f].t, forms[f].y};
      for (int k = 0; k < 4; ++k) s->of[k] = tensor_of(&r, descriptor(o, names[k]), pack);
      Descriptor about = descriptor(o, forms[f].about);
      if (forms[f].type) s->mode = attribute(about, forms[f].mode, forms[f].type)->ints[0];
      const struct Attribute* axis = about ? attribute(about, 9, 3) : NULL;
      if (axis) s->axis = (int)axis->longs[0];
    }
  }
  CUdeviceptr uses[8] = {0};
  int used = 0;
  for (int i = 0; i < r.tensors; ++i) {
    const struct Shape* s = &r.shape[i];
    if (s->virtual || r.constant[i]) continue;
    if (!checked_reach(name, "a tensor", r.at[i], s->bytes)) return BAD;
    if (r.at[i] % s->alignment) violation("%s: tensor %ld is not as aligned as told", name, s->uid);
    const int by_columns = s->strides[2] == 1;
    for (int d = 0; d < 4 && size_of(s->type) == 2; ++d) { /* which cuDNN doesn't check */
      if (s->sizes[d] > 1 && s->strides[d] % 8 && d != (by_columns ? 2 : 3))
        violation("%s: tensor %ld has no multiple of 16 bytes from one to the next", name, s->uid);
    }
    if (used < 8) uses[used++] = r.at[i];
  }
  return enqueue_call(h->stream, evaluate, &r, sizeof r, uses);
}

EXPORT int cudnnBackendExecute(Handle h, Descriptor plan, Descriptor pack) {
  BEGIN_ON_DEVICE("cudnnBackendExecute");
  const char* const name = "cudnnBackendExecute";
  if (h->device != current->ordinal) violation("%s: the handle is another device's", name);
  Descriptor graph = descriptor(plan, 401)->attributes[0].pointers[0],
             operation = descriptor(graph, 801);
  const CUdeviceptr area = (CUdeviceptr)attribute(pack, 1003, 6)->pointers[0];
  if (!checked_reach(name, "the workspace", area, WORKSPACE)) return leave(BAD);
  const int kind = operation->kind;
  if (kind < FORWARD || kind > BY_INPUT) return leave(run_graph(h, graph, pack));
  const int names[3][4] = {{702, 704, 703, 705}, {714, 716, 715, 717}, {708, 710, 709, 711}};
  const int* of = names[kind - FORWARD];
  struct Convolution c = {.kind = kind};
  struct Shape* shapes[] = {&c.x, &c.w, &c.y};
  Descriptor window = descriptor(operation, of[0]);
  for (int i = 0; i < 3; ++i) *shapes[i] = shape(descriptor(operation, of[1 + i]));
  for (int d = 0; d < c.x.rank - 2; ++d) {
    c.stride[d] = attribute(window, 103, 3)->longs[d];
    c.padding[d] = attribute(window, 105, 3)->longs[d];
    c.dilation[d] = attribute(window, 102, 3)->longs[d];
    const int64_t reach_of = c.dilation[d] * (c.w.sizes[2 + d] - 1) + 1;
    const int64_t out = (c.x.sizes[2 + d] + 2 * c.padding[d] - reach_of) / c.stride[d] + 1;
    if (out != c.y.sizes[2 + d])
      violation("%s: dim %d has %ld places, not %ld", name, d, c.y.sizes[2 + d], out);
  }
  if (c.x.sizes[0] != c.y.sizes[0] || c.w.sizes[0] != c.y.sizes[1] || c.x.sizes[1] % c.w.sizes[1]) {
    violation("%s: channels or batches don't go together", name);
    return leave(BAD);
  }
  const struct Attribute *uids = attribute(pack, 1000, 3), *pointers = attribute(pack, 1001, 6);
  for (int64_t i = 0; i < uids->count; ++i) {
    for (int t = 0; t < 3; ++t) {
      if (shapes[t]->uid == uids->longs[i]) c.at[t] = (CUdeviceptr)pointers->pointers[i];
    }
  }
  for (int t = 0; t < 3; ++t) {
    if (!checked_reach(name, "a tensor", c.at[t], shapes[t]->bytes)) return leave(BAD);
    if (c.at[t] % shapes[t]->alignment)
      violation("%s: a tensor is not aligned as it was told", name);
  }
  const CUdeviceptr uses[8] = {c.at[0], c.at[1], c.at[2], area};
  return leave(enqueue_call(h->stream, convolve, &c, sizeof c, uses));
}
