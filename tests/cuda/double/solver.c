/* A double of cuSOLVER: checks sizes and memory, and computes on the host. */
#include "matrices.h"

typedef struct {
  int device;
  CUstream stream;
}* Handle;

enum { BAD = 3, LEFT = 0, LOWER = 0, WORKSPACE = 1 << 12 };

EXPORT int cusolverDnCreate(Handle* out) {
  BEGIN_ON_DEVICE("cusolverDnCreate");
  *out = calloc(1, sizeof **out);
  (*out)->device = current->ordinal;
  return leave(SUCCESS);
}
EXPORT int cusolverDnCreateParams(void** out) {
  *out = malloc(1);
  return SUCCESS;
}
EXPORT int cusolverDnSetStream(Handle h, CUstream s) {
  h->stream = s;
  return SUCCESS;
}

/* ---- Calls: what is asked for is kept until the stream gets there ---- */

enum What { LU, SOLVE, QR, EIGH, SVD, CHOLESKY, GQR, MQR, EIG, LDL, LDL_SOLVE };
struct Call {
  enum What what;
  int type, flags[2];
  int64_t m, n, k, count, leading, other_leading, third_leading;
  CUdeviceptr a, b, c, d, info;
};

static void eigenvalues(const struct Call* c, Dense a, char* values) {
  /* A + shift is positive definite: its singular values are eigenvalues. */
  const int64_t n = c->n;
  double shift = 1;
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < n; ++i) {
      const int given = c->flags[1] == LOWER ? i >= j : i <= j;
      if (!given) AT(a, i, j) = 0;
    }
  }
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < j; ++i) {
      number *lower = &AT(a, j, i), *upper = &AT(a, i, j);
      if (c->flags[1] == LOWER)
        *upper = conj(*lower);
      else
        *lower = conj(*upper);
    }
    AT(a, j, j) = creal(AT(a, j, j));
  }
  for (int64_t j = 0; j < n; ++j) shift += length(a, j);
  for (int64_t j = 0; j < n; ++j) AT(a, j, j) += shift;
  Dense v = dense(n, n);
  orthogonalize(a, v);
  for (int64_t j = 0; j < n; ++j) { /* ascending */
    int64_t least = j;
    for (int64_t k = j; k < n; ++k) {
      if (length(a, k) < length(a, least)) least = k;
    }
    swap_columns(a, j, least);
    swap_columns(v, j, least);
    put(values, c->type == R_32F || c->type == C_32F ? R_32F : R_64F, j, length(a, j) - shift);
  }
  memcpy(a.x, v.x, n * n * sizeof(number));
  free(v.x);
}

static void singular_values(const struct Call* c, Dense a, char* s, char* u_at, char* vt_at) {
  const int64_t n = a.n;
  Dense v = dense(n, n), u = dense(a.m, c->flags[0] == 'A' ? a.m : n);
  orthogonalize(a, v);
  for (int64_t j = 0; j < n; ++j) {
    int64_t most = j;
    for (int64_t k = j; k < n; ++k) {
      if (length(a, k) > length(a, most)) most = k;
    }
    swap_columns(a, j, most);
    swap_columns(v, j, most);
    const double l = length(a, j);
    put(s, c->type == R_32F || c->type == C_32F ? R_32F : R_64F, j, l);
    for (int64_t i = 0; i < a.m; ++i) AT(u, i, j) = l > 0 ? AT(a, i, j) / l : 0;
  }
  int64_t rank = 0;
  while (rank < n && length(a, rank) > 1e-13 * length(a, 0)) ++rank;
  complete(u, rank);
  free(a.x);
  if (c->flags[0] == 'N') {
    free(u.x);
    free(v.x);
    return;
  }
  Dense vt = dense(n, n);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < n; ++i) AT(vt, i, j) = conj(AT(v, j, i));
  }
  free(v.x);
  write_matrix(u, u_at, c->type, c->other_leading);
  write_matrix(vt, vt_at, c->type, c->third_leading);
}

/* Of real matrices: pairs next to each other, the real parts of their vectors before the imaginary
 * ones. */
static void general_eigenvalues(const struct Call* c, Dense a, char* values, char* right) {
  const int64_t n = c->n;
  const int is_real = c->type == R_32F || c->type == R_64F,
            kind = c->type == R_32F || c->type == C_32F ? C_32F : C_64F;
  number* w = calloc(n + 1, sizeof *w);
  Dense v = dense(n, n), told = dense(n, n);
  eigen(a, w, v);
  double size = 0;
  for (int64_t j = 0; j < n; ++j) size = fmax(size, cabs(w[j]));
  for (int64_t j = 0, to = 0; j < n && to < n; ++j) {
    const int pair = is_real && fabs(cimag(w[j])) > 1e-9 * size;
    if (pair && cimag(w[j]) < 0) continue;
    number turn = 1; /* of a real eigenvalue, to a real vector */
    for (int64_t i = 0, most = 0; i < n && is_real && !pair; ++i) {
      if (cabs(AT(v, i, j)) > cabs(AT(v, most, j))) most = i;
      turn = conj(AT(v, most, j)) / cabs(AT(v, most, j));
    }
    put(values, kind, to, is_real && !pair ? creal(w[j]) : w[j]);
    if (pair) put(values, kind, to + 1, conj(w[j]));
    for (int64_t i = 0; i < n; ++i) {
      AT(told, i, to) = is_real ? creal(turn * AT(v, i, j)) : AT(v, i, j);
      if (pair) AT(told, i, to + 1) = cimag(AT(v, i, j));
    }
    to += 1 + pair;
  }
  if (c->flags[0]) write_matrix(told, right, c->type, c->other_leading);
  free(w), free(v.x), free(a.x);
}

static number* read_vector(const char* data, int type, int64_t n) {
  number* x = calloc(n + 1, sizeof *x);
  for (int64_t i = 0; i < n; ++i) x[i] = get(data, type, i);
  return x;
}

static Dense adjoint_of(Dense a) {
  Dense t = dense(a.n, a.m);
  for (int64_t j = 0; j < a.n; ++j) {
    for (int64_t i = 0; i < a.m; ++i) AT(t, j, i) = conj(AT(a, i, j));
  }
  free(a.x);
  return t;
}

static void compute(void* about) {
  const struct Call* c = about;
  int* info = (int*)reach(c->info, 4, NULL);
  char *at = reach(c->a, 1, NULL), *b = c->b ? reach(c->b, 1, NULL) : NULL,
       *third = c->c ? reach(c->c, 1, NULL) : NULL, *fourth = c->d ? reach(c->d, 1, NULL) : NULL;
  *info = 0;
  if (c->what == CHOLESKY) {
    for (int64_t i = 0; i < c->count; ++i) {
      char* matrix = reach(((CUdeviceptr*)at)[i], 1, NULL);
      if (!matrix) {
        violation("potrfBatched: matrix %ld is not on the device", i);
        continue;
      }
      Dense a = read_matrix(matrix, c->type, c->n, c->n, c->leading);
      info[i] = factor_cholesky(a, c->flags[0] == LOWER);
      write_matrix(a, matrix, c->type, c->leading);
    }
    return;
  }
  Dense a = read_matrix(at, c->type, c->m, c->what == MQR ? c->k : c->n, c->leading);
  if (c->what == SVD) return singular_values(c, a, b, third, fourth);
  if (c->what == EIG) return general_eigenvalues(c, a, b, third);
  if (c->what == LU) {
    *info = factor_lu(a, (int64_t*)b);
  } else if (c->what == LDL) {
    *info = factor_ldl(a, (int*)b);
  } else if (c->what == LDL_SOLVE) {
    Dense x = read_matrix(third, c->type, c->n, c->k, c->other_leading);
    solve_ldl(a, (int64_t*)b, x);
    write_matrix(x, third, c->type, c->other_leading);
    free(a.x);
    return;
  } else if (c->what == SOLVE) {
    Dense x = read_matrix(third, c->type, c->n, c->k, c->other_leading);
    solve_lu(a, (int64_t*)b, x, c->flags[0]);
    write_matrix(x, third, c->type, c->other_leading);
    free(a.x);
    return;
  } else if (c->what == QR) {
    const int64_t k = c->m < c->n ? c->m : c->n;
    number* tau = calloc(k + 1, sizeof *tau);
    factor_qr(a, tau);
    for (int64_t i = 0; i < k; ++i) put(b, c->type, i, tau[i]);
    free(tau);
  } else if (c->what == EIGH) {
    eigenvalues(c, a, b);
  } else if (c->what == GQR) {
    number* tau = read_vector(b, c->type, c->k);
    Dense q = dense(c->m, c->n);
    for (int64_t j = 0; j < c->n; ++j) AT(q, j, j) = 1;
    reflect(a, tau, c->k, q, 0);
    free(tau);
    free(a.x);
    a = q;
  } else { /* MQR: here m is the order of Q, count and n the sizes of the other */
    number* tau = read_vector(b, c->type, c->k);
    Dense x = read_matrix(third, c->type, c->count, c->n, c->other_leading);
    if (c->flags[0] == LEFT) {
      reflect(a, tau, c->k, x, c->flags[1] != 0);
    } else { /* x Q = (Q^H x^H)^H */
      x = adjoint_of(x);
      reflect(a, tau, c->k, x, c->flags[1] == 0);
      x = adjoint_of(x);
    }
    write_matrix(x, third, c->type, c->other_leading);
    free(tau);
    free(a.x);
    return;
  }
  write_matrix(a, at, c->type, c->leading);
}

static int call(const char* name, Handle h, struct Call c, size_t a_bytes) {
  if (h->device != current->ordinal) violation("%s: the handle is another device's", name);
  if (!checked_reach(name, "the matrix", c.a, a_bytes) || !checked_reach(name, "info", c.info, 4)) {
    return BAD;
  }
  const CUdeviceptr uses[8] = {c.a, c.info, c.b ? c.b : c.info, c.c ? c.c : c.info, c.d};
  return enqueue_call(h->stream, compute, &c, sizeof c, uses);
}
static size_t bytes_of(int type, int64_t rows, int64_t columns, int64_t leading) {
  if (leading < rows) violation("a leading dimension of %ld for %ld rows", leading, rows);
  return ((columns - 1) * leading + rows) * size_of(type);
}
static int sizes(size_t* device, size_t* host) {
  *device = WORKSPACE;
  *host = 64;
  return SUCCESS;
}
static void check_area(const char* name, CUdeviceptr device, size_t bytes, void* host,
                       size_t host_bytes) {
  if (bytes < WORKSPACE || host_bytes < 64 || !host ||
      !checked_reach(name, "the workspace", device, bytes)) {
    violation("%s: the workspace is too small", name);
  }
}
#define AREA CUdeviceptr device, size_t bytes, void *host, size_t host_bytes, CUdeviceptr info
#define CHECK_AREA(name) check_area(name, device, bytes, host, host_bytes)

EXPORT int cusolverDnXgetrf_bufferSize(Handle h, void* p, int64_t m, int64_t n, int type,
                                       CUdeviceptr a, int64_t lda, int compute, size_t* device,
                                       size_t* host) {
  (void)h, (void)p, (void)m, (void)n, (void)type, (void)a, (void)lda, (void)compute;
  return sizes(device, host);
}
EXPORT int cusolverDnXgetrf(Handle h, void* p, int64_t m, int64_t n, int type, CUdeviceptr a,
                            int64_t lda, CUdeviceptr pivots, int compute, AREA) {
  BEGIN_ON_DEVICE("cusolverDnXgetrf");
  (void)p, (void)compute;
  CHECK_AREA("Xgetrf");
  if (!checked_reach("Xgetrf", "the pivots", pivots, 8 * (m < n ? m : n))) return leave(BAD);
  struct Call c = {LU, type, .m = m, .n = n, .leading = lda, .a = a, .b = pivots, .info = info};
  return leave(call("Xgetrf", h, c, bytes_of(type, m, n, lda)));
}
EXPORT int cusolverDnXgetrs(Handle h, void* p, int operation, int64_t n, int64_t columns, int type,
                            CUdeviceptr a, int64_t lda, CUdeviceptr pivots, int type_b,
                            CUdeviceptr b, int64_t ldb, CUdeviceptr info) {
  BEGIN_ON_DEVICE("cusolverDnXgetrs");
  (void)p, (void)type_b;
  if (!checked_reach("Xgetrs", "B", b, bytes_of(type, n, columns, ldb))) return leave(BAD);
  struct Call c = {SOLVE,  type,        {operation},    n,
                   n,      columns,     .leading = lda, .other_leading = ldb,
                   .a = a, .b = pivots, .c = b,         .info = info};
  return leave(call("Xgetrs", h, c, bytes_of(type, n, n, lda)));
}
EXPORT int cusolverDnXsytrs_bufferSize(Handle h, int uplo, int64_t n, int64_t columns, int type,
                                       CUdeviceptr a, int64_t lda, CUdeviceptr pivots, int type_b,
                                       CUdeviceptr b, int64_t ldb, size_t* device, size_t* host) {
  (void)h, (void)uplo, (void)n, (void)columns, (void)type, (void)a, (void)lda, (void)pivots;
  (void)type_b, (void)b, (void)ldb;
  return sizes(device, host);
}
EXPORT int cusolverDnXsytrs(Handle h, int uplo, int64_t n, int64_t columns, int type, CUdeviceptr a,
                            int64_t lda, CUdeviceptr pivots, int type_b, CUdeviceptr b, int64_t ldb,
                            AREA) {
  BEGIN_ON_DEVICE("cusolverDnXsytrs");
  CHECK_AREA("Xsytrs");
  if (uplo != LOWER || type_b != type)
    violation("Xsytrs: uplo %d, types %d, %d", uplo, type, type_b);
  if (!checked_reach("Xsytrs", "B", b, bytes_of(type, n, columns, ldb))) return leave(BAD);
  struct Call c = {LDL_SOLVE,
                   type,
                   .m = n,
                   .n = n,
                   .k = columns,
                   .leading = lda,
                   .other_leading = ldb,
                   .a = a,
                   .b = pivots,
                   .c = b,
                   .info = info};
  return leave(call("Xsytrs", h, c, bytes_of(type, n, n, lda)));
}
EXPORT int cusolverDnXgeqrf_bufferSize(Handle h, void* p, int64_t m, int64_t n, int type,
                                       CUdeviceptr a, int64_t lda, int type_tau, CUdeviceptr tau,
                                       int compute, size_t* device, size_t* host) {
  (void)h, (void)p, (void)m, (void)n, (void)type, (void)a, (void)lda, (void)type_tau, (void)tau;
  (void)compute;
  return sizes(device, host);
}
EXPORT int cusolverDnXgeqrf(Handle h, void* p, int64_t m, int64_t n, int type, CUdeviceptr a,
                            int64_t lda, int type_tau, CUdeviceptr tau, int compute, AREA) {
  BEGIN_ON_DEVICE("cusolverDnXgeqrf");
  (void)p, (void)type_tau, (void)compute;
  CHECK_AREA("Xgeqrf");
  struct Call c = {QR, type, .m = m, .n = n, .leading = lda, .a = a, .b = tau, .info = info};
  return leave(call("Xgeqrf", h, c, bytes_of(type, m, n, lda)));
}
EXPORT int cusolverDnXsyevd_bufferSize(Handle h, void* p, int jobz, int uplo, int64_t n, int type,
                                       CUdeviceptr a, int64_t lda, int type_w, CUdeviceptr w,
                                       int compute, size_t* device, size_t* host) {
  (void)h, (void)p, (void)jobz, (void)uplo, (void)n, (void)type, (void)a, (void)lda, (void)type_w;
  (void)w, (void)compute;
  return sizes(device, host);
}
EXPORT int cusolverDnXsyevd(Handle h, void* p, int jobz, int uplo, int64_t n, int type,
                            CUdeviceptr a, int64_t lda, int type_w, CUdeviceptr w, int compute,
                            AREA) {
  BEGIN_ON_DEVICE("cusolverDnXsyevd");
  (void)p, (void)compute;
  CHECK_AREA("Xsyevd");
  if (type_w != R_32F && type_w != R_64F) violation("Xsyevd: eigenvalues of type %d", type_w);
  struct Call c = {EIGH, type, {jobz, uplo}, n, n, .leading = lda, .a = a, .b = w, .info = info};
  return leave(call("Xsyevd", h, c, bytes_of(type, n, n, lda)));
}
EXPORT int cusolverDnXgeev_bufferSize(Handle h, void* p, int jobvl, int jobvr, int64_t n, int type,
                                      CUdeviceptr a, int64_t lda, int type_w, CUdeviceptr w,
                                      int type_vl, CUdeviceptr vl, int64_t ldvl, int type_vr,
                                      CUdeviceptr vr, int64_t ldvr, int compute, size_t* device,
                                      size_t* host) {
  (void)h, (void)p, (void)jobvl, (void)jobvr, (void)n, (void)type, (void)a, (void)lda;
  (void)type_w, (void)w, (void)type_vl, (void)vl, (void)ldvl, (void)type_vr, (void)vr, (void)ldvr;
  (void)compute;
  return sizes(device, host);
}
EXPORT int cusolverDnXgeev(Handle h, void* p, int jobvl, int jobvr, int64_t n, int type,
                           CUdeviceptr a, int64_t lda, int type_w, CUdeviceptr w, int type_vl,
                           CUdeviceptr vl, int64_t ldvl, int type_vr, CUdeviceptr vr, int64_t ldvr,
                           int compute, AREA) {
  BEGIN_ON_DEVICE("cusolverDnXgeev");
  (void)p, (void)type_vl, (void)vl, (void)ldvl;
  CHECK_AREA("Xgeev");
  if (jobvl || (type_w != C_32F && type_w != C_64F) || type_vr != type || compute != type)
    violation("Xgeev: left vectors, or types that don't go together");
  if (jobvr && !checked_reach("Xgeev", "the vectors", vr, bytes_of(type, n, n, ldvr)))
    return leave(BAD);
  struct Call c = {EIG,
                   type,
                   {jobvr},
                   n,
                   n,
                   .leading = lda,
                   .other_leading = ldvr,
                   .a = a,
                   .b = w,
                   .c = jobvr ? vr : 0,
                   .info = info};
  return leave(call("Xgeev", h, c, bytes_of(type, n, n, lda)));
}
EXPORT int cusolverDnXgesvd_bufferSize(Handle h, void* p, signed char jobu, signed char jobvt,
                                       int64_t m, int64_t n, int type, CUdeviceptr a, int64_t lda,
                                       int type_s, CUdeviceptr s, int type_u, CUdeviceptr u,
                                       int64_t ldu, int type_vt, CUdeviceptr vt, int64_t ldvt,
                                       int compute, size_t* device, size_t* host) {
  (void)h, (void)p, (void)jobu, (void)jobvt, (void)m, (void)n, (void)type, (void)a, (void)lda;
  (void)type_s, (void)s, (void)type_u, (void)u, (void)ldu, (void)type_vt, (void)vt, (void)ldvt;
  (void)compute;
  return sizes(device, host);
}
EXPORT int cusolverDnXgesvd(Handle h, void* p, signed char jobu, signed char jobvt, int64_t m,
                            int64_t n, int type, CUdeviceptr a, int64_t lda, int type_s,
                            CUdeviceptr s, int type_u, CUdeviceptr u, int64_t ldu, int type_vt,
                            CUdeviceptr vt, int64_t ldvt, int compute, AREA) {
  BEGIN_ON_DEVICE("cusolverDnXgesvd");
  (void)p, (void)type_s, (void)type_u, (void)type_vt, (void)jobvt, (void)compute;
  CHECK_AREA("Xgesvd");
  if (m < n) violation("Xgesvd: %ld rows and %ld columns", m, n);
  const int64_t wide = jobu == 'A' ? m : n;
  if (jobu != 'N' && (!checked_reach("Xgesvd", "U", u, bytes_of(type, m, wide, ldu)) ||
                      !checked_reach("Xgesvd", "VT", vt, bytes_of(type, n, n, ldvt)))) {
    return leave(BAD);
  }
  struct Call c = {SVD,
                   type,
                   {jobu},
                   m,
                   n,
                   .leading = lda,
                   .other_leading = ldu,
                   .third_leading = ldvt,
                   .a = a,
                   .b = s,
                   .c = u,
                   .d = vt,
                   .info = info};
  return leave(call("Xgesvd", h, c, bytes_of(type, m, n, lda)));
}

#define FOR_TYPE(letters, plain, type)                                                           \
  EXPORT int cusolverDn##plain##potrfBatched(Handle h, int uplo, int n, CUdeviceptr a, int lda,  \
                                             CUdeviceptr info, int count) {                      \
    BEGIN_ON_DEVICE("cusolverDnpotrfBatched");                                                   \
    struct Call c = {CHOLESKY,       type,           {uplo}, n,           n,                     \
                     .count = count, .leading = lda, .a = a, .info = info};                      \
    return leave(call("potrfBatched", h, c, 8 * (size_t)count));                                 \
  }                                                                                              \
  EXPORT int cusolverDn##plain##sytrf_bufferSize(Handle h, int n, CUdeviceptr a, int lda,        \
                                                 int* size) {                                    \
    (void)h, (void)n, (void)a, (void)lda;                                                        \
    *size = WORKSPACE;                                                                           \
    return SUCCESS;                                                                              \
  }                                                                                              \
  EXPORT int cusolverDn##plain##sytrf(Handle h, int uplo, int n, CUdeviceptr a, int lda,         \
                                      CUdeviceptr pivots, CUdeviceptr work, int size,            \
                                      CUdeviceptr info) {                                        \
    BEGIN_ON_DEVICE("cusolverDnsytrf");                                                          \
    if (uplo != LOWER) violation("sytrf: the upper triangle");                                   \
    if (!checked_reach("sytrf", "the workspace", work, size * size_of(type)) ||                  \
        !checked_reach("sytrf", "the pivots", pivots, 4 * (size_t)n))                            \
      return leave(BAD);                                                                         \
    struct Call c = {                                                                            \
        LDL, type, .m = n, .n = n, .leading = lda, .a = a, .b = pivots, .info = info};           \
    return leave(call("sytrf", h, c, bytes_of(type, n, n, lda)));                                \
  }                                                                                              \
  EXPORT int cusolverDn##letters##gqr_bufferSize(Handle h, int m, int n, int k, CUdeviceptr a,   \
                                                 int lda, CUdeviceptr tau, int* size) {          \
    (void)h, (void)m, (void)n, (void)k, (void)a, (void)lda, (void)tau;                           \
    *size = WORKSPACE;                                                                           \
    return SUCCESS;                                                                              \
  }                                                                                              \
  EXPORT int cusolverDn##letters##gqr(Handle h, int m, int n, int k, CUdeviceptr a, int lda,     \
                                      CUdeviceptr tau, CUdeviceptr work, int size,               \
                                      CUdeviceptr info) {                                        \
    BEGIN_ON_DEVICE("cusolverDngqr");                                                            \
    if (m < n || n < k) violation("gqr: m %d, n %d, k %d", m, n, k);                             \
    if (!checked_reach("gqr", "the workspace", work, size * size_of(type))) return leave(BAD);   \
    struct Call c = {GQR,    type,     .m = m,      .n = n, .k = k, .leading = lda,              \
                     .a = a, .b = tau, .info = info};                                            \
    return leave(call("gqr", h, c, bytes_of(type, m, n, lda)));                                  \
  }                                                                                              \
  EXPORT int cusolverDn##letters##mqr_bufferSize(Handle h, int side, int trans, int m, int n,    \
                                                 int k, CUdeviceptr a, int lda, CUdeviceptr tau, \
                                                 CUdeviceptr c, int ldc, int* size) {            \
    (void)h, (void)side, (void)trans, (void)m, (void)n, (void)k, (void)a, (void)lda, (void)tau;  \
    (void)c, (void)ldc;                                                                          \
    *size = WORKSPACE;                                                                           \
    return SUCCESS;                                                                              \
  }                                                                                              \
  EXPORT int cusolverDn##letters##mqr(Handle h, int side, int trans, int m, int n, int k,        \
                                      CUdeviceptr a, int lda, CUdeviceptr tau, CUdeviceptr x,    \
                                      int ldc, CUdeviceptr work, int size, CUdeviceptr info) {   \
    BEGIN_ON_DEVICE("cusolverDnmqr");                                                            \
    const int order = side == LEFT ? m : n;                                                      \
    if (!checked_reach("mqr", "the workspace", work, size * size_of(type)) ||                    \
        !checked_reach("mqr", "C", x, bytes_of(type, m, n, ldc))) {                              \
      return leave(BAD);                                                                         \
    }                                                                                            \
    struct Call c = {MQR, type, {side, trans}, order,    n,      k,           m,                 \
                     lda, ldc,  .a = a,        .b = tau, .c = x, .info = info};                  \
    return leave(call("mqr", h, c, bytes_of(type, order, k, lda)));                              \
  }
FOR_TYPE(Sor, S, R_32F)
FOR_TYPE(Dor, D, R_64F)
FOR_TYPE(Cun, C, C_32F)
FOR_TYPE(Zun, Z, C_64F)
