/* A double of cuFFT: the sums of the definition, on the host. */
#include "numbers.h"

enum { INVALID_PLAN = 1, BAD = 4, MOST = 4096 };
struct Plan {
  int used, rank, source, target, compute;
  int64_t n[3], batch;
  CUstream stream;
  CUdeviceptr area;
};
static struct Plan plans[MOST];

EXPORT int cufftCreate(int* out) {
  BEGIN_ON_DEVICE("cufftCreate");
  int i = 0;
  while (i < MOST && plans[i].used) ++i;
  if (i == MOST) return leave(BAD);
  plans[i] = (struct Plan){.used = 1};
  *out = i;
  return leave(SUCCESS);
}
EXPORT int cufftDestroy(int p) {
  BEGIN("cufftDestroy");
  plans[p].used = 0;
  return leave(SUCCESS);
}
EXPORT int cufftSetAutoAllocation(int p, int yes) {
  if (yes) violation("plan %d allocates memory itself", p);
  return SUCCESS;
}
EXPORT int cufftXtMakePlanMany(int p, int rank, long long* n, long long* inembed, long long istride,
                               long long idist, int source, long long* onembed, long long ostride,
                               long long odist, int target, long long batch, size_t* size,
                               int compute) {
  BEGIN_ON_DEVICE("cufftXtMakePlanMany");
  (void)istride, (void)idist, (void)ostride, (void)odist;
  if (rank < 1 || rank > 3 || inembed || onembed || batch < 1) {
    violation("cufftXtMakePlanMany: rank %d, batch %lld", rank, batch);
    return leave(BAD);
  }
  if (compute != C_32F && compute != C_64F) violation("a transform computed in type %d", compute);
  struct Plan* plan = &plans[p];
  plan->rank = rank;
  for (int i = 0; i < rank; ++i) plan->n[i] = n[i];
  plan->batch = batch;
  plan->source = source;
  plan->target = target;
  plan->compute = compute;
  *size = 256;
  return leave(SUCCESS);
}
EXPORT int cufftSetStream(int p, CUstream s) {
  plans[p].stream = s;
  return SUCCESS;
}
EXPORT int cufftSetWorkArea(int p, CUdeviceptr area) {
  plans[p].area = area;
  return SUCCESS;
}

static int is_real(int type) { return type == R_32F || type == R_64F; }
static int64_t elements(const struct Plan* p, int type) { /* of one array */
  int64_t all = 1;
  for (int i = 0; i < p->rank; ++i) all *= p->n[i];
  const int half = is_real(p->source) != is_real(p->target) && !is_real(type);
  return half ? all / p->n[p->rank - 1] * (p->n[p->rank - 1] / 2 + 1) : all;
}

struct Exec {
  struct Plan plan;
  CUdeviceptr in, out;
  int direction;
};
static void along(number* x, const struct Plan* p, int dim, int direction) {
  int64_t inner = 1, all = 1;
  for (int i = 0; i < p->rank; ++i) {
    all *= p->n[i];
    if (i > dim) inner *= p->n[i];
  }
  const int64_t n = p->n[dim];
  number* line = malloc(n * sizeof *line);
  for (int64_t start = 0; start < all / n; ++start) {
    number* at = x + start / inner * inner * n + start % inner;
    for (int64_t k = 0; k < n; ++k) {
      line[k] = 0;
      for (int64_t j = 0; j < n; ++j) {
        line[k] += at[j * inner] * cexp(direction * 2 * M_PI * I * (double)(j * k % n) / n);
      }
    }
    for (int64_t k = 0; k < n; ++k) at[k * inner] = line[k];
  }
  free(line);
}
static void transform(void* about) {
  const struct Exec* e = about;
  const struct Plan* p = &e->plan;
  char *in = reach(e->in, 1, NULL), *out = reach(e->out, 1, NULL);
  const int64_t from = elements(p, p->source), to = elements(p, p->target), n = p->n[0];
  int64_t all = 1;
  for (int i = 0; i < p->rank; ++i) all *= p->n[i];
  number* x = malloc(all * sizeof *x);
  for (int64_t b = 0; b < p->batch; ++b) {
    for (int64_t i = 0; i < all; ++i) {
      if (is_real(p->target)) { /* of one dim: the other half is the conjugate */
        x[i] = i < from ? get(in, p->source, b * from + i) : conj(x[n - i]);
        if (i == 0 || 2 * i == n) x[i] = creal(x[i]);
      } else {
        x[i] = get(in, p->source, b * from + i);
      }
    }
    for (int d = 0; d < p->rank; ++d) along(x, p, d, e->direction);
    for (int64_t i = 0; i < to; ++i) put(out, p->target, b * to + i, x[i]);
  }
  free(x);
}

EXPORT int cufftXtExec(int p, CUdeviceptr in, CUdeviceptr out, int direction) {
  BEGIN_ON_DEVICE("cufftXtExec");
  struct Exec e = {plans[p], in, out, direction};
  const struct Plan* plan = &e.plan;
  if (!plan->used || !plan->rank) return leave(INVALID_PLAN);
  if ((is_real(plan->source) || is_real(plan->target)) && plan->rank > 1) {
    violation("cufftXtExec: real transforms of several dims are not doubled here");
  }
  if (in == out ||
      !checked_reach("cufftXtExec", "the input", in,
                     plan->batch * elements(plan, plan->source) * size_of(plan->source)) ||
      !checked_reach("cufftXtExec", "the output", out,
                     plan->batch * elements(plan, plan->target) * size_of(plan->target)) ||
      !checked_reach("cufftXtExec", "the work area", plan->area, 256)) {
    return leave(BAD);
  }
  const CUdeviceptr uses[8] = {in, out, plan->area};
  return leave(enqueue_call(plan->stream, transform, &e, sizeof e, uses));
}
