/* Modules and launches. A kernel is known by its name; what runs is the CPU code that a test has
 * registered for it. And copies. */
#include "double.h"

struct Kernel {
  struct Kernel *next;
  char name[128];
  int32_t (*run)(void *const *ptr, const int64_t *geometry, const int64_t *scalars, void *scratch);
  int lengths[3]; /* of the argument arrays: operands, geometry, scalars */
  size_t scratch_bytes; /* for each element of the row, the product of the extents of `row` */
  uint32_t row;
};
static struct Kernel *kernels;

struct Module {
  char *text;
};

EXPORT void double_register(const char *name, void *run, int operands, int geometry, int scalars,
                            size_t scratch_bytes, uint32_t row) {
  pthread_mutex_lock(&lock);
  struct Kernel *k = calloc(1, sizeof *k);
  snprintf(k->name, sizeof k->name, "%s", name);
  k->run = run;
  k->lengths[0] = operands;
  k->lengths[1] = geometry;
  k->lengths[2] = scalars;
  k->scratch_bytes = scratch_bytes;
  k->row = row;
  k->next = kernels;
  kernels = k;
  pthread_mutex_unlock(&lock);
}

EXPORT CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned count, int *options,
                                   void **values) {
  BEGIN_ON_DEVICE("cuModuleLoadDataEx");
  CUresult r = unsafe_call();
  if (r) return leave(r);
  if (!strstr(image, ".entry")) {
    for (unsigned i = 0; i < count; ++i) {
      if (options[i] == 5) strcpy(values[i], "ptxas fatal: no entry");
    }
    return leave(INVALID_PTX);
  }
  *out = calloc(1, sizeof **out);
  (*out)->text = strdup(image);
  return leave(SUCCESS);
}
EXPORT CUresult cuModuleGetFunction(CUfunction *out, CUmodule m, const char *name) {
  BEGIN_ON_DEVICE("cuModuleGetFunction");
  struct Kernel *k = kernels;
  while (k && strcmp(k->name, name)) k = k->next;
  *out = k;
  return leave(k && strstr(m->text, name) ? SUCCESS : NOT_FOUND);
}

static unsigned latest[6];
/* Blocks and threads of the latest launch, along x, y and z each. */
EXPORT const unsigned *double_grid(void) { return latest; }
CUresult check_grid(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                    unsigned shared) {
  int good = gx && gy && gz && gy <= 65535 && gz <= 65535 && gx <= 0x7fffffff && bx && by && bz &&
             bx * by * bz <= 1024 && shared <= 48 << 10;
  return good ? SUCCESS : INVALID_VALUE;
}
static size_t argument_bytes(const struct Kernel *k) {
  return (k->lengths[0] + k->lengths[1] + k->lengths[2]) * sizeof(int64_t);
}
void set_arguments(struct Task *t, struct Kernel *k, void **params) {
  t->kernel = k;
  free(t->arguments);
  int64_t *at = t->arguments = malloc(argument_bytes(k));
  for (int i = 0; i < 3; ++i) {
    memcpy(at, params[i], k->lengths[i] * sizeof *at);
    at += k->lengths[i];
  }
  t->flags = *(int32_t **)params[3];
}
int64_t *copied_arguments(const struct Task *t) {
  return memcpy(malloc(argument_bytes(t->kernel)), t->arguments, argument_bytes(t->kernel));
}

EXPORT CUresult cuLaunchKernel(CUfunction k, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                               unsigned by, unsigned bz, unsigned shared, CUstream stream,
                               void **params, void **extra) {
  BEGIN_ON_DEVICE("cuLaunchKernel");
  (void)extra;
  struct Stream *s = resolve(stream);
  if (s->device != current) return leave(INVALID_HANDLE);
  CUresult r = check_grid(gx, gy, gz, bx, by, bz, shared);
  if (r) return leave(r);
  memcpy(latest, (unsigned[]){gx, gy, gz, bx, by, bz}, sizeof latest);
  struct Task *t = new_task(LAUNCH);
  set_arguments(t, k, params);
  return leave(enqueue(s, t));
}

static void unlocked(int yes) {
  if (!threads_mode) return;
  if (yes) {
    pthread_mutex_unlock(&lock);
  } else {
    pthread_mutex_lock(&lock);
  }
}

static int overlaps(CUdeviceptr a, size_t n, CUdeviceptr b, size_t m) {
  return a < b + m && b < a + n;
}
int touches(const struct Task *t, CUdeviceptr p, size_t bytes) {
  if (t->kind == LAUNCH) {
    for (int i = 0; i < t->kernel->lengths[0]; ++i) {
      if (overlaps(t->arguments[i], 1, p, bytes)) return 1;
    }
  } else if (t->kind == REPLAY) {
    for (const struct Task *each = t->graph->first; each; each = each->next) {
      if (touches(each, p, bytes)) return 1;
    }
  } else if (t->kind == CALL) {
    for (int i = 0; i < 8 && t->uses[i]; ++i) {
      if (overlaps(t->uses[i], 1, p, bytes)) return 1;
    }
  } else if (t->kind == COPY || t->kind == FILL) {
    return overlaps(t->to, t->bytes, p, bytes) || overlaps(t->from, t->bytes, p, bytes);
  }
  return 0;
}

static void launch(const struct Task *t) {
  const struct Kernel *k = t->kernel;
  void *operands[64];
  for (int i = 0; i < k->lengths[0]; ++i) {
    CUdeviceptr p = (CUdeviceptr)t->arguments[i];
    if (!is_device_address(p)) {
      if (p && !is_pinned_memory(p, 1)) {
        violation("kernel %s was given memory of the host, operand %d", k->name, i);
        sticky = ILLEGAL_ADDRESS;
        return;
      }
      operands[i] = (void *)p;
    } else if (!(operands[i] = reach(p, 1, NULL))) {
      violation("kernel %s was given an address that is not mapped, operand %d", k->name, i);
      sticky = ILLEGAL_ADDRESS;
      return;
    }
  }
  const int64_t *geometry = t->arguments + k->lengths[0];
  size_t row = 1;
  for (int a = 0; a < 32; ++a) {
    if (k->row >> a & 1) row *= geometry[2 * a + 1] - geometry[2 * a];
  }
  void *scratch = k->scratch_bytes ? aligned_alloc(64, (k->scratch_bytes * row + 127) / 64 * 64) : 0;
  if (!k->run) return; /* what sections left is merged: one has done it all */
  unlocked(1);
  int32_t flags = k->run(operands, geometry, geometry + k->lengths[1], scratch);
  unlocked(0);
  if (flags) __atomic_or_fetch(t->flags, flags, __ATOMIC_SEQ_CST);
  free(scratch);
}

static void copy(const struct Task *t) {
  char *to = reach(t->to, t->bytes, NULL);
  char *from = t->staged ? t->staged : reach(t->from, t->bytes, NULL);
  if (!to || !from) {
    violation("a copy reaches memory that is not mapped");
    sticky = ILLEGAL_ADDRESS;
    return;
  }
  unlocked(1);
  memcpy(to, from, t->bytes);
  unlocked(0);
}

void execute(struct Task *t) {
  switch (t->kind) {
    case COPY: copy(t); break;
    case FILL: {
      char *to = reach(t->to, t->bytes, NULL);
      if (to) memset(to, t->value, t->bytes);
      break;
    }
    case LAUNCH: launch(t); break;
    case CALL: t->call(t->staged); break;
    case REPLAY:
      for (struct Task *each = t->graph->first; each && !sticky; each = each->next) execute(each);
      break;
    default: break;
  }
}

/* ---- What libraries do ---- */

void *checked_reach(const char *function, const char *what, CUdeviceptr p, size_t bytes) {
  int device = -1;
  char *at = bytes ? reach(p, bytes, &device) : (char *)&device;
  if (!at || (bytes && device < 0)) {
    violation("%s: %s is not %zu bytes of the device's memory", function, what, bytes);
    return NULL;
  }
  return at;
}
CUresult enqueue_call(CUstream stream, void (*call)(void *), const void *about, size_t bytes,
                      const CUdeviceptr *uses) {
  struct Stream *s = resolve(stream);
  if (s->device != current) return INVALID_HANDLE;
  struct Task *t = new_task(CALL);
  t->call = call;
  t->staged = malloc(bytes);
  memcpy(t->staged, about, bytes);
  for (int i = 0; i < 8 && uses[i]; ++i) t->uses[i] = uses[i];
  return enqueue(s, t);
}

/* ---- Copies ---- */

static CUresult enqueue_copy(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  struct Stream *s = resolve(stream);
  if (s->device != current) return INVALID_HANDLE;
  if (!reach(to, bytes, NULL) || !reach(from, bytes, NULL)) return INVALID_VALUE;
  struct Task *t = new_task(COPY);
  t->to = to;
  t->from = from;
  t->bytes = bytes;
  /* Pageable memory is staged: read at once, and written before the call returns. */
  const int pageable_from = !is_device_address(from) && !is_pinned_memory(from, bytes);
  const int pageable_to = !is_device_address(to) && !is_pinned_memory(to, bytes);
  if ((pageable_from || pageable_to) && s->capture) {
    s->capture->invalidated = 1;
    return CAPTURE_UNSUPPORTED;
  }
  if (pageable_from) {
    t->staged = malloc(bytes);
    memcpy(t->staged, (void *)from, bytes);
  }
  CUresult r = enqueue(s, t);
  if (!r && pageable_to) {
    finish(s, s->submitted);
    r = sticky;
  }
  return r;
}

EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  BEGIN_ON_DEVICE("cuMemcpyAsync");
  return leave(enqueue_copy(to, from, bytes, stream));
}
EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                                  CUcontext from_context, size_t bytes, CUstream stream) {
  BEGIN_ON_DEVICE("cuMemcpyPeerAsync");
  int a = -1, b = -1;
  reach(to, bytes, &a);
  reach(from, bytes, &b);
  if (a != to_context->ordinal || b != from_context->ordinal) return leave(INVALID_VALUE);
  return leave(enqueue_copy(to, from, bytes, stream));
}
EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes,
                                CUstream stream) {
  BEGIN_ON_DEVICE("cuMemsetD8Async");
  struct Stream *s = resolve(stream);
  if (!is_device_address(to) || !reach(to, bytes, NULL)) return leave(INVALID_VALUE);
  struct Task *t = new_task(FILL);
  t->to = to;
  t->bytes = bytes;
  t->value = value;
  return leave(enqueue(s, t));
}
