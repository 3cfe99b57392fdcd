/* A double of cuDNN's graphs: descriptors keep what is set, and a plan of one convolution is
 * carried out on the host. */
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
  GRAPH = 15,
  PACK,
  TENSOR
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
EXPORT size_t cudnnGetVersion(void) { return 91000; }
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
  return type == 3 || type == 0 || type == 5 || type == 6 || type == 15 ? 8 : 4;
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
  int type, rank;
  int64_t uid, sizes[8], strides[8], bytes, alignment;
};
static struct Shape shape(Descriptor d) {
  static const int types[] = {R_32F, R_64F, R_16F, -1, -1, -1, -1, -1, -1, R_16BF};
  const struct Attribute *sizes = attribute(d, 902, 3), *strides = attribute(d, 903, 3);
  struct Shape s = {.type = types[attribute(d, 901, 1)->ints[0]],
                    .rank = (int)sizes->count,
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

EXPORT int cudnnBackendExecute(Handle h, Descriptor plan, Descriptor pack) {
  BEGIN_ON_DEVICE("cudnnBackendExecute");
  const char* const name = "cudnnBackendExecute";
  if (h->device != current->ordinal) violation("%s: the handle is another device's", name);
  Descriptor graph = descriptor(plan, 401)->attributes[0].pointers[0],
             operation = descriptor(graph, 801);
  const int kind = operation->kind;
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
  const CUdeviceptr area = (CUdeviceptr)attribute(pack, 1003, 6)->pointers[0];
  if (!checked_reach(name, "the workspace", area, WORKSPACE)) return leave(BAD);
  const CUdeviceptr uses[8] = {c.at[0], c.at[1], c.at[2], area};
  return leave(enqueue_call(h->stream, convolve, &c, sizeof c, uses));
}
