/* Devices, streams, events, capture. */
#include "double.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct Device devices[MAX_DEVICES];
int device_total = 2, threads_mode = 0, virtual_memory = 1;
int capability_major = 9, capability_minor = 0;
__thread struct Device *current;
pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static __thread int capture_mode; /* global, thread-local, relaxed */
static int captures; /* under way that forbid unsafe calls */
static uint64_t capture_ids;

static size_t setting(const char *name, size_t otherwise) {
  const char *all = getenv("TAIMATSU_DOUBLE"), *at = all ? strstr(all, name) : NULL;
  return at ? strtoull(at + strlen(name) + 1, NULL, 0) : otherwise;
}

/* ---- Devices: TAIMATSU_DOUBLE="devices=2 memory=0x40000000 threads=0 virtual=1 capability=90" */

EXPORT CUresult cuInit(unsigned flags) {
  BEGIN("cuInit");
  (void)flags;
  if (devices[0].capacity) return leave(SUCCESS);
  device_total = (int)setting("devices", 2);
  threads_mode = (int)setting("threads", 0);
  virtual_memory = (int)setting("virtual", 1);
  capability_major = (int)setting("capability", 90) / 10;
  capability_minor = (int)setting("capability", 90) % 10;
  for (int i = 0; i < device_total; ++i) {
    devices[i].ordinal = i;
    devices[i].capacity = setting("memory", (size_t)1 << 30);
  }
  memory_init();
  return leave(device_total ? SUCCESS : 100);
}
EXPORT CUresult cuDriverGetVersion(int *version) {
  *version = 13000;
  return SUCCESS;
}
EXPORT CUresult cuDeviceGetCount(int *count) {
  BEGIN("cuDeviceGetCount");
  *count = device_total;
  return leave(SUCCESS);
}
EXPORT CUresult cuDeviceGet(CUdevice *out, int ordinal) {
  BEGIN("cuDeviceGet");
  *out = ordinal;
  return leave(ordinal >= 0 && ordinal < device_total ? SUCCESS : INVALID_DEVICE);
}
EXPORT CUresult cuDeviceGetName(char *name, int size, CUdevice d) {
  BEGIN("cuDeviceGetName");
  snprintf(name, size, "Double %d", d);
  return leave(SUCCESS);
}
EXPORT CUresult cuDeviceGetUuid(void *out, CUdevice d) {
  BEGIN("cuDeviceGetUuid");
  memset(out, d + 1, 16);
  return leave(SUCCESS);
}
EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice d) {
  BEGIN("cuDeviceTotalMem_v2");
  *bytes = devices[d].capacity;
  return leave(SUCCESS);
}
EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice d) {
  BEGIN("cuDeviceGetAttribute");
  (void)d;
  switch (attribute) {
    case 1: *value = 1024; break;
    case 8: *value = 48 << 10; break;
    case 10: *value = 32; break;
    case 16: *value = 4; break;
    case 38: *value = 1 << 20; break;
    case 39: *value = 2048; break;
    case 75: *value = capability_major; break;
    case 76: *value = capability_minor; break;
    case 81:
    case 97: *value = 227 << 10; break;
    case 82: *value = 65536; break;
    case 102:
    case 103: *value = virtual_memory; break;
    default: *value = 0;
  }
  return leave(SUCCESS);
}
EXPORT CUresult cuDeviceCanAccessPeer(int *can, CUdevice a, CUdevice b) {
  BEGIN("cuDeviceCanAccessPeer");
  *can = a != b && setting("peers", 1);
  return leave(SUCCESS);
}
EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice d) {
  BEGIN("cuDevicePrimaryCtxRetain");
  struct Device *device = &devices[d];
  *out = device;
  if (!device->null_stream) {
    struct Stream *s = device->null_stream = device->streams = calloc(1, sizeof *s);
    s->device = device;
    s->last = &s->first;
  }
  return leave(SUCCESS);
}
EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned *flags, int *active) {
  BEGIN("cuDevicePrimaryCtxGetState");
  *flags = 0;
  *active = devices[d].null_stream != NULL;
  return leave(SUCCESS);
}
EXPORT CUresult cuCtxGetCurrent(CUcontext *out) {
  *out = current;
  return SUCCESS;
}
EXPORT CUresult cuCtxSetCurrent(CUcontext c) {
  BEGIN("cuCtxSetCurrent");
  current = c;
  return leave(SUCCESS);
}
EXPORT CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  BEGIN_ON_DEVICE("cuCtxEnablePeerAccess");
  (void)flags;
  uint32_t bit = 1u << peer->ordinal;
  CUresult r = current->peers & bit ? PEER_ALREADY_ENABLED : SUCCESS;
  current->peers |= bit;
  return leave(r);
}
EXPORT CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  BEGIN_ON_DEVICE("cuCtxGetStreamPriorityRange");
  *least = 0;
  *greatest = -5;
  return leave(SUCCESS);
}

EXPORT CUresult cuProfilerStart(void) {
  BEGIN_ON_DEVICE("cuProfilerStart");
  return leave(SUCCESS);
}
EXPORT CUresult cuProfilerStop(void) {
  BEGIN_ON_DEVICE("cuProfilerStop");
  return leave(SUCCESS);
}

/* ---- Queues ---- */

struct Task *new_task(enum TaskKind kind) {
  struct Task *t = calloc(1, sizeof *t);
  t->kind = kind;
  return t;
}

/* 1 and 2 are CUDA's handles of the default stream and of the thread's, here the same one. */
struct Stream *resolve(CUstream s) { return (uintptr_t)s > 2 ? s : current->null_stream; }

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e3 * t.tv_sec + 1e-6 * t.tv_nsec;
}

/* Another process' device goes on by itself. */
static void await(const struct EventState *event, uint64_t number) {
  for (int i = 0; event->reached < number; ++i) {
    if (i == 20000) violation("another process' event is never reached");
    if (i >= 20000) break;
    pthread_mutex_unlock(&lock);
    usleep(1000);
    pthread_mutex_lock(&lock);
  }
}

static void free_graph(struct Graph *g);

/* The next task of the stream. */
static void run_one(struct Stream *s) {
  struct Task *t = s->first;
  if (t->kind == WAIT && t->shared) {
    await(t->shared, t->shared_number);
  } else if (t->kind == WAIT) {
    finish(t->on, t->number);
  } else if (t->kind == RECORD) {
    if (t->shared) t->shared->reached = t->shared_number;
    if (t->event->stream == s && t->event->number == t->number) t->event->milliseconds = now();
  } else if (!sticky) {
    execute(t);
  }
  s->first = t->next;
  if (!s->first) s->last = &s->first;
  ++s->done;
  if (t->kind == REPLAY) free_graph(t->graph);
  free(t->staged);
  free(t->arguments);
  free(t);
  pthread_cond_broadcast(&progress);
}

static void *work(void *stream) {
  struct Stream *s = stream;
  pthread_mutex_lock(&lock);
  for (;;) {
    while (!s->first) pthread_cond_wait(&progress, &lock);
    run_one(s);
  }
  return NULL;
}

void finish(struct Stream *s, uint64_t number) {
  while (s->done < number) {
    if (threads_mode) {
      pthread_cond_wait(&progress, &lock);
    } else {
      run_one(s);
    }
  }
}
void finish_all(struct Device *d) {
  for (int i = 0; i < device_total; ++i) {
    if (d && d != &devices[i]) continue;
    for (struct Stream *s = devices[i].streams; s; s = s->next) finish(s, s->submitted);
  }
}

static void append(struct Graph *g, struct Task *t) {
  *g->last = t;
  g->last = &t->next;
  ++g->count;
}
static struct Graph *new_graph(void) {
  struct Graph *g = calloc(1, sizeof *g);
  g->last = &g->first;
  return g;
}
static struct Graph *clone_graph(const struct Graph *g) {
  struct Graph *clone = new_graph();
  for (struct Task *t = g->first; t; t = t->next) {
    struct Task *copy = new_task(t->kind);
    *copy = *t;
    copy->next = NULL;
    if (!copy->origin) copy->origin = t;
    if (t->arguments) copy->arguments = copied_arguments(t);
    append(clone, copy);
  }
  return clone;
}
static void free_graph(struct Graph *g) {
  for (struct Task *t = g->first, *next; t; t = next) {
    next = t->next;
    free(t->arguments);
    free(t); /* what it has staged is the original's */
  }
  free(g);
}

CUresult enqueue(struct Stream *s, struct Task *t) {
  trace(s, t);
  if (s->capture) {
    struct Capture *c = s->capture;
    if (c->invalidated) return CAPTURE_INVALIDATED;
    if (t->kind == RECORD || t->kind == WAIT) {
      free(t);
      return SUCCESS;
    }
    append(c->graph, t);
    s->captured = t;
    if (s != c->origin) s->unjoined = 1;
    return SUCCESS;
  }
  *s->last = t;
  s->last = &t->next;
  ++s->submitted;
  if (threads_mode) {
    if (!s->thread) pthread_create(&s->thread, NULL, work, s);
    pthread_cond_broadcast(&progress);
  }
  return SUCCESS;
}

int in_use(CUdeviceptr p, size_t bytes) {
  for (int i = 0; i < device_total; ++i) {
    for (struct Stream *s = devices[i].streams; s; s = s->next) {
      for (struct Task *t = s->first; t; t = t->next) {
        if (touches(t, p, bytes)) return 1;
      }
    }
  }
  return 0;
}

/* ---- Streams ---- */

EXPORT CUresult cuStreamCreateWithPriority(CUstream *out, unsigned flags, int priority) {
  BEGIN_ON_DEVICE("cuStreamCreateWithPriority");
  struct Stream *s = *out = calloc(1, sizeof *s);
  s->device = current;
  s->priority = priority;
  s->flags = (int)flags;
  s->last = &s->first;
  s->next = current->streams;
  current->streams = s;
  return leave(SUCCESS);
}
EXPORT CUresult cuStreamGetPriority(CUstream s, int *priority) {
  BEGIN_ON_DEVICE("cuStreamGetPriority");
  *priority = resolve(s)->priority;
  return leave(SUCCESS);
}

/* Waiting during a capture spoils it. */
static CUresult not_captured(struct Stream *s) {
  if (!s->capture) return SUCCESS;
  s->capture->invalidated = 1;
  return CAPTURE_UNSUPPORTED;
}
CUresult unsafe_call(void) {
  return captures && capture_mode != 2 ? CAPTURE_UNSUPPORTED : SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream stream) {
  BEGIN_ON_DEVICE("cuStreamSynchronize");
  struct Stream *s = resolve(stream);
  CUresult r = not_captured(s);
  if (!r) finish(s, s->submitted);
  return leave(r ? r : sticky);
}
EXPORT CUresult cuCtxSynchronize(void) {
  BEGIN_ON_DEVICE("cuCtxSynchronize");
  CUresult r = unsafe_call();
  if (!r) finish_all(current);
  return leave(r ? r : sticky);
}
/* A question lets the stream go on by one step, so that polling ends. */
static CUresult state_of(struct Stream *s, uint64_t number) {
  if (s->done >= number) return sticky;
  if (!threads_mode) run_one(s);
  return NOT_READY;
}
EXPORT CUresult cuStreamQuery(CUstream stream) {
  BEGIN_ON_DEVICE("cuStreamQuery");
  struct Stream *s = resolve(stream);
  CUresult r = not_captured(s);
  return leave(r ? r : state_of(s, s->submitted));
}

/* ---- Events of other processes ---- */

struct EventTicket {
  int process, file;
  char rest[56];
};
/* A device goes on by itself: so does a stream that another process may wait for, after a while. */
static void *go_on(void *stream) {
  struct Stream *s = stream;
  usleep(100000);
  pthread_mutex_lock(&lock);
  finish(s, s->submitted);
  pthread_mutex_unlock(&lock);
  return NULL;
}
static void go_on_later(struct Stream *s) {
  pthread_t thread;
  if (threads_mode || pthread_create(&thread, NULL, go_on, s)) return;
  pthread_detach(thread);
}
EXPORT CUresult cuIpcGetEventHandle(struct EventTicket *out, CUevent e) {
  BEGIN_ON_DEVICE("cuIpcGetEventHandle");
  if (!e->shared || e->imported) return leave(INVALID_VALUE);
  memset(out, 0, sizeof *out);
  out->process = getpid();
  out->file = e->file;
  return leave(SUCCESS);
}
EXPORT CUresult cuIpcOpenEventHandle(CUevent *out, struct EventTicket ticket) {
  BEGIN_ON_DEVICE("cuIpcOpenEventHandle");
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", ticket.process, ticket.file);
  int file = ticket.process == getpid() ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return leave(INVALID_VALUE);
  CUevent e = *out = calloc(1, sizeof *e);
  e->imported = 1;
  e->flags = 2;
  e->file = file;
  e->shared = mmap(NULL, sizeof(struct EventState), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  return leave(SUCCESS);
}

/* ---- Events ---- */

EXPORT CUresult cuEventCreate(CUevent *out, unsigned flags) {
  BEGIN_ON_DEVICE("cuEventCreate");
  *out = calloc(1, sizeof **out);
  (*out)->flags = flags;
  if (flags & 4) {
    (*out)->file = memfd_create("event", MFD_CLOEXEC);
    if (ftruncate((*out)->file, sizeof(struct EventState))) abort();
    (*out)->shared = mmap(NULL, sizeof(struct EventState), PROT_READ | PROT_WRITE, MAP_SHARED,
                          (*out)->file, 0);
  }
  return leave(flags & 4 && !(flags & 2) ? INVALID_VALUE : SUCCESS);
}

EXPORT CUresult cuEventDestroy_v2(CUevent e) {
  BEGIN("cuEventDestroy_v2");
  if (e->shared) close(e->file); /* its page stays: waits may be queued */
  if (e->stream) finish(e->stream, e->number); /* its record may be queued */
  free(e);
  return leave(SUCCESS);
}
EXPORT CUresult cuEventRecord(CUevent e, CUstream stream) {
  BEGIN_ON_DEVICE("cuEventRecord");
  struct Stream *s = resolve(stream);
  if (s->device != current) return leave(INVALID_HANDLE);
  e->stream = s;
  e->capture = s->capture;
  struct Task *t = new_task(RECORD);
  t->event = e;
  if (!s->capture) e->number = t->number = s->submitted + 1;
  if ((t->shared = e->shared)) {
    t->shared_number = ++e->shared->recorded;
    go_on_later(s);
  }
  return leave(enqueue(s, t));
}
EXPORT CUresult cuEventQuery(CUevent e) {
  BEGIN("cuEventQuery");
  if (e->capture) return leave(CAPTURED_EVENT);
  if (e->imported) return leave(e->shared->reached < e->shared->recorded ? NOT_READY : SUCCESS);
  return leave(e->stream ? state_of(e->stream, e->number) : SUCCESS);
}
EXPORT CUresult cuEventSynchronize(CUevent e) {
  BEGIN("cuEventSynchronize");
  if (e->capture) return leave(CAPTURED_EVENT);
  if (e->imported) await(e->shared, e->shared->recorded);
  if (e->stream) finish(e->stream, e->number);
  return leave(sticky);
}
EXPORT CUresult cuEventElapsedTime(float *out, CUevent a, CUevent b) {
  BEGIN("cuEventElapsedTime");
  if (!a->stream || !b->stream || (a->flags | b->flags) & 2) return leave(INVALID_HANDLE);
  if (a->stream->done < a->number || b->stream->done < b->number) return leave(NOT_READY);
  *out = (float)(b->milliseconds - a->milliseconds);
  return leave(SUCCESS);
}
EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent e, unsigned flags) {
  BEGIN("cuStreamWaitEvent");
  (void)flags;
  if ((uintptr_t)stream <= 2 && !current) return leave(INVALID_CONTEXT);
  struct Stream *s = resolve(stream);
  if (e->imported) {
    struct Task *t = new_task(WAIT);
    t->on = s;
    t->shared = e->shared;
    t->shared_number = e->shared->recorded;
    return leave(enqueue(s, t));
  }
  if (!e->stream) return leave(SUCCESS);
  if (e->capture) { /* the stream joins, or waits for what joined */
    if (s->capture && s->capture != e->capture) return leave(CAPTURE_ISOLATION);
    if (s == s->device->null_stream) return leave(CAPTURE_IMPLICIT);
    if (!s->capture) s->unjoined = 0;
    s->capture = e->capture;
    e->stream->unjoined = 0;
    return leave(SUCCESS);
  }
  if (s->capture) return leave(CAPTURE_ISOLATION);
  struct Task *t = new_task(WAIT);
  t->on = e->stream;
  t->number = e->number;
  return leave(enqueue(s, t));
}

/* ---- Capture and graphs: what is captured, in one order that its dependencies allow ---- */

EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
  BEGIN_ON_DEVICE("cuStreamBeginCapture_v2");
  if (!stream || stream->capture) return leave(CAPTURE_UNSUPPORTED);
  struct Capture *c = calloc(1, sizeof *c);
  c->id = ++capture_ids;
  c->origin = stream;
  c->graph = new_graph();
  stream->capture = c;
  stream->captured = NULL;
  if (mode != 2) ++captures;
  return leave(SUCCESS);
}
EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *out) {
  CUresult r = begin("cuStreamEndCapture"); /* whatever goes wrong, the capture ends */
  struct Stream *s = resolve(stream);
  struct Capture *c = s->capture;
  *out = NULL;
  if (!c || c->origin != s) return leave(CAPTURE_UNMATCHED);
  if (!r && c->invalidated) r = CAPTURE_INVALIDATED;
  for (int i = 0; i < device_total; ++i) {
    for (struct Stream *each = devices[i].streams; each; each = each->next) {
      if (each->capture != c) continue;
      if (!r && each->unjoined) r = CAPTURE_UNJOINED;
      each->capture = NULL;
      each->unjoined = 0;
    }
  }
  if (captures) --captures;
  if (r) return leave(r);
  *out = c->graph;
  return leave(SUCCESS);
}
EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream stream, int *status, unsigned long long *id,
                                          CUgraph *graph, const void **nodes, size_t *count) {
  BEGIN_ON_DEVICE("cuStreamGetCaptureInfo_v2");
  struct Stream *s = resolve(stream);
  struct Capture *c = s->capture;
  *status = !c ? 0 : c->invalidated ? 2 : 1;
  *id = c ? c->id : 0;
  if (graph) *graph = c ? c->graph : NULL;
  if (nodes) *nodes = &s->captured;
  if (count) *count = c && s->captured;
  return leave(SUCCESS);
}
EXPORT CUresult cuThreadExchangeStreamCaptureMode(int *mode) {
  int before = capture_mode;
  capture_mode = *mode;
  *mode = before;
  return SUCCESS;
}
EXPORT CUresult cuGraphGetNodes(CUgraph g, void *nodes, size_t *count) {
  BEGIN("cuGraphGetNodes");
  (void)nodes;
  *count = g->count;
  return leave(SUCCESS);
}
EXPORT CUresult cuGraphDebugDotPrint(CUgraph g, const char *path, unsigned flags) {
  BEGIN("cuGraphDebugDotPrint");
  (void)flags;
  FILE *f = fopen(path, "w");
  if (!f) return leave(INVALID_VALUE);
  fprintf(f, "digraph dot { /* %zu nodes */ }\n", g->count);
  fclose(f);
  return leave(SUCCESS);
}
EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph g, unsigned long long flags) {
  BEGIN_ON_DEVICE("cuGraphInstantiateWithFlags");
  (void)flags;
  *out = clone_graph(g);
  return leave(SUCCESS);
}
struct NodeParams {
  CUfunction kernel;
  unsigned gx, gy, gz, bx, by, bz, shared;
  void **params, **extra;
};
EXPORT CUresult cuGraphExecKernelNodeSetParams(CUgraphExec g, struct Task *node,
                                               const struct NodeParams *p) {
  BEGIN("cuGraphExecKernelNodeSetParams");
  struct Task *t = g->first;
  while (t && t->origin != node) t = t->next;
  if (!t || t->kind != LAUNCH) return leave(INVALID_VALUE);
  CUresult r = check_grid(p->gx, p->gy, p->gz, p->bx, p->by, p->bz, p->shared);
  if (!r) set_arguments(t, p->kernel, p->params);
  return leave(r);
}
EXPORT CUresult cuGraphLaunch(CUgraphExec g, CUstream stream) {
  BEGIN_ON_DEVICE("cuGraphLaunch");
  struct Task *t = new_task(REPLAY);
  t->graph = clone_graph(g); /* later changes are for later launches */
  return leave(enqueue(resolve(stream), t));
}
/* Nodes stay: executable graphs mention them, and a test makes few. */
EXPORT CUresult cuGraphDestroy(CUgraph g) {
  BEGIN("cuGraphDestroy");
  (void)g;
  return leave(SUCCESS);
}
EXPORT CUresult cuGraphExecDestroy(CUgraphExec g) {
  BEGIN("cuGraphExecDestroy");
  free_graph(g);
  return leave(SUCCESS);
}
