/* A double of NCCL between processes: memory that they share, a place in it for each pair, and
 * barriers. A collective is carried out when its stream gets there, in all processes. */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "numbers.h"

enum { BAD = 4, MOST_RANKS = 8, ROOM = 1 << 16, MOST_IN_GROUP = 64 };
typedef struct {
  char name[128];
} Id;
struct Shared {
  _Atomic int joined, arrived, generation;
  _Atomic int64_t filled[MOST_RANKS][MOST_RANKS]; /* bytes in a place; 0: it is free */
  char places[MOST_RANKS][MOST_RANKS][ROOM];
};
typedef struct Communicator {
  struct Shared* shared;
  int rank, size, device;
}* Communicator;

EXPORT int ncclGetUniqueId(Id* id) {
  static int made;
  memset(id, 0, sizeof *id);
  snprintf(id->name, sizeof id->name, "/taimatsu-nccl-%d-%d", (int)getpid(), ++made);
  return SUCCESS;
}
EXPORT int ncclCommInitRank(Communicator* out, int size, Id id, int rank) {
  BEGIN_ON_DEVICE("ncclCommInitRank");
  if (size > MOST_RANKS || rank < 0 || rank >= size) return leave(BAD);
  const int file = shm_open(id.name, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, sizeof(struct Shared))) return leave(2);
  Communicator c = *out = calloc(1, sizeof **out);
  c->shared = mmap(NULL, sizeof(struct Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  c->rank = rank;
  c->size = size;
  c->device = current->ordinal;
  if (atomic_fetch_add(&c->shared->joined, 1) + 1 == size) shm_unlink(id.name);
  return leave(SUCCESS);
}
EXPORT int ncclCommDestroy(Communicator c) {
  munmap(c->shared, sizeof *c->shared);
  free(c);
  return SUCCESS;
}

static size_t width(int type) {
  static const size_t widths[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
  return widths[type];
}

static void post(Communicator c, int peer, const void* data, int64_t bytes) {
  while (atomic_load(&c->shared->filled[c->rank][peer])) usleep(50);
  memcpy(c->shared->places[c->rank][peer], data, bytes);
  atomic_store(&c->shared->filled[c->rank][peer], bytes + 1);
}
static void take(Communicator c, int peer, void* data, int64_t bytes) {
  int64_t filled;
  while (!(filled = atomic_load(&c->shared->filled[peer][c->rank]))) usleep(50);
  if (filled != bytes + 1) violation("ncclRecv: %ld bytes of %ld", filled - 1, bytes);
  memcpy(data, c->shared->places[peer][c->rank], bytes);
  atomic_store(&c->shared->filled[peer][c->rank], 0);
}

enum What { SEND, RECEIVE, REDUCE, GATHER, SCATTER };
struct Action {
  enum What what;
  Communicator c;
  CUdeviceptr from, to;
  int64_t count;
  int type, op, peer; /* of reductions the root, -1: all */
};
struct Actions {
  int count;
  struct Action each[MOST_IN_GROUP];
};
static __thread int depth;
static __thread struct Actions pending;
static __thread CUstream pending_stream;

static double value(const char* data, int type, int64_t i) {
  switch (type) {
    case 0: return ((const int8_t*)data)[i];
    case 1: return ((const uint8_t*)data)[i];
    case 2: return ((const int32_t*)data)[i];
    case 3: return ((const uint32_t*)data)[i];
    case 4: return (double)((const int64_t*)data)[i];
    case 5: return (double)((const uint64_t*)data)[i];
    default: {
      static const int types[] = {R_16F, R_32F, R_64F, R_16BF};
      return creal(get(data, types[type - 6], i));
    }
  }
}
static void set_value(char* data, int type, int64_t i, double x) {
  switch (type) {
    case 0: ((int8_t*)data)[i] = (int8_t)x; break;
    case 1: ((uint8_t*)data)[i] = (uint8_t)x; break;
    case 2: ((int32_t*)data)[i] = (int32_t)x; break;
    case 3: ((uint32_t*)data)[i] = (uint32_t)x; break;
    case 4: ((int64_t*)data)[i] = (int64_t)x; break;
    case 5: ((uint64_t*)data)[i] = (uint64_t)x; break;
    default: {
      static const int types[] = {R_16F, R_32F, R_64F, R_16BF};
      put(data, types[type - 6], i, x);
    }
  }
}

/* `count` elements of everybody's `parts[rank]`, combined. */
static void combine(char* out, char* parts, int64_t bytes, const struct Action* a) {
  const int size = a->c->size;
  for (int64_t i = 0; i < a->count; ++i) {
    double sum = value(parts, a->type, i);
    for (int r = 1; r < size; ++r) {
      const double x = value(parts + r * bytes, a->type, i);
      if (a->op == 0 || a->op == 4) sum += x;
      if (a->op == 1) sum *= x;
      if (a->op == 2) sum = x > sum ? x : sum;
      if (a->op == 3) sum = x < sum ? x : sum;
    }
    set_value(out, a->type, i, a->op == 4 ? sum / size : sum);
  }
}

static void collect(const struct Action* a) {
  const Communicator c = a->c;
  const int64_t bytes = a->count * width(a->type);
  char *from = reach(a->from, 1, NULL), *to = reach(a->to, 1, NULL);
  char* parts = malloc(bytes * c->size + 1);
  for (int r = 0; r < c->size; ++r) { /* a place is as large as a message may be */
    post(c, r, from + (a->what == SCATTER ? r * bytes : 0), bytes);
  }
  for (int r = 0; r < c->size; ++r) take(c, r, parts + r * bytes, bytes);
  if (a->what == GATHER) {
    memcpy(to, parts, bytes * c->size);
  } else if (a->op < 0) { /* broadcast */
    memcpy(to, parts + a->peer * bytes, bytes);
  } else if (a->peer < 0 || a->peer == c->rank) {
    combine(to, parts, bytes, a);
  }
  free(parts);
}

static void carry_out(void* about) {
  const struct Actions* all = about;
  for (int i = 0; i < all->count; ++i) {
    const struct Action* a = &all->each[i];
    if (a->what == SEND) {
      post(a->c, a->peer, reach(a->from, 1, NULL), a->count * width(a->type));
    } else if (a->what != RECEIVE) {
      collect(a);
    }
  }
  for (int i = 0; i < all->count; ++i) {
    const struct Action* a = &all->each[i];
    if (a->what == RECEIVE) take(a->c, a->peer, reach(a->to, 1, NULL), a->count * width(a->type));
  }
}

static int submit(void) {
  CUdeviceptr uses[8] = {0};
  for (int i = 0; i < pending.count && i < 4; ++i) {
    uses[2 * i] = pending.each[i].from ? pending.each[i].from : pending.each[i].to;
    uses[2 * i + 1] = pending.each[i].to ? pending.each[i].to : pending.each[i].from;
  }
  const int r = pending.count
                    ? enqueue_call(pending_stream, carry_out, &pending, sizeof pending, uses)
                    : SUCCESS;
  pending.count = 0;
  return r;
}
EXPORT int ncclGroupStart(void) {
  ++depth;
  return SUCCESS;
}
EXPORT int ncclGroupEnd(void) {
  BEGIN_ON_DEVICE("ncclGroupEnd");
  return leave(--depth ? SUCCESS : submit());
}

static int add(const char* name, struct Action a, int64_t send_count, int64_t receive_count,
               CUstream stream) {
  if (a.c->device != current->ordinal) violation("%s: the communicator is another GPU's", name);
  if (a.type < 0 || a.type > 9 || a.count * width(a.type) > ROOM) {
    violation("%s: %ld elements of type %d", name, a.count, a.type);
    return BAD;
  }
  if ((a.from && !checked_reach(name, "what is sent", a.from, send_count * width(a.type))) ||
      (a.to && !checked_reach(name, "what is received", a.to, receive_count * width(a.type))) ||
      pending.count == MOST_IN_GROUP) {
    return BAD;
  }
  pending.each[pending.count++] = a;
  pending_stream = stream;
  return depth ? SUCCESS : submit();
}

EXPORT int ncclAllReduce(CUdeviceptr from, CUdeviceptr to, size_t count, int type, int op,
                         Communicator c, CUstream stream) {
  BEGIN_ON_DEVICE("ncclAllReduce");
  struct Action a = {REDUCE, c, from, to, count, type, op, -1};
  return leave(add("ncclAllReduce", a, count, count, stream));
}
EXPORT int ncclReduce(CUdeviceptr from, CUdeviceptr to, size_t count, int type, int op, int root,
                      Communicator c, CUstream stream) {
  BEGIN_ON_DEVICE("ncclReduce");
  struct Action a = {REDUCE, c, from, to, count, type, op, root};
  return leave(add("ncclReduce", a, count, count, stream));
}
EXPORT int ncclBroadcast(CUdeviceptr from, CUdeviceptr to, size_t count, int type, int root,
                         Communicator c, CUstream stream) {
  BEGIN_ON_DEVICE("ncclBroadcast");
  struct Action a = {REDUCE, c, from, to, count, type, -1, root};
  return leave(add("ncclBroadcast", a, count, count, stream));
}
EXPORT int ncclAllGather(CUdeviceptr from, CUdeviceptr to, size_t count, int type, Communicator c,
                         CUstream stream) {
  BEGIN_ON_DEVICE("ncclAllGather");
  struct Action a = {GATHER, c, from, to, count, type, 0, -1};
  return leave(add("ncclAllGather", a, count, count * c->size, stream));
}
EXPORT int ncclReduceScatter(CUdeviceptr from, CUdeviceptr to, size_t count, int type, int op,
                             Communicator c, CUstream stream) {
  BEGIN_ON_DEVICE("ncclReduceScatter");
  struct Action a = {SCATTER, c, from, to, count, type, op, -1};
  return leave(add("ncclReduceScatter", a, count * c->size, count, stream));
}
EXPORT int ncclSend(CUdeviceptr from, size_t count, int type, int peer, Communicator c,
                    CUstream stream) {
  BEGIN_ON_DEVICE("ncclSend");
  struct Action a = {SEND, c, from, 0, count, type, 0, peer};
  return leave(add("ncclSend", a, count, 0, stream));
}
EXPORT int ncclRecv(CUdeviceptr to, size_t count, int type, int peer, Communicator c,
                    CUstream stream) {
  BEGIN_ON_DEVICE("ncclRecv");
  struct Action a = {RECEIVE, c, 0, to, count, type, 0, peer};
  return leave(add("ncclRecv", a, 0, count, stream));
}
EXPORT int ncclGetVersion(int *version) {
  *version = 22703;
  return 0;
}
