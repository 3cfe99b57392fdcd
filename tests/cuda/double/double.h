/* A double of the CUDA driver, for machines without a GPU: the functions of libcuda that Taimatsu
 * calls, with memory that the host can't read, streams that really are asynchronous, events,
 * graphs and virtual memory.
 *
 *   memory.c    addresses, physical memory, pinned memory
 *   stream.c    devices and contexts, streams, events, capture and graphs
 *   kernel.c    modules, launches (of the CPU code that a test registers), copies
 *   control.c   what tests set and ask: errors to inject, counts, violations
 *   blas.c ...  doubles of NVIDIA's libraries, which check what they are given
 *
 * Work on a stream is only queued. Where it runs is the mode's choice:
 *   lazy      when somebody waits for it, and no sooner: a missing wait shows as a wrong result
 *   threads   on a thread for each stream, in any order that streams and events allow
 *
 * One lock guards everything; `BEGIN` takes it, counts the call and injects errors. */
#pragma once

#define _GNU_SOURCE
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct Device *CUcontext; /* a device's only context */
typedef struct Stream *CUstream;
typedef struct Event *CUevent;
typedef struct Module *CUmodule;
typedef struct Kernel *CUfunction;
typedef struct Graph *CUgraph;
typedef struct Graph *CUgraphExec;

enum {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  INVALID_PTX = 218,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_READY = 600,
  ILLEGAL_ADDRESS = 700,
  PEER_ALREADY_ENABLED = 704,
  NOT_PERMITTED = 800,
  NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_UNMATCHED = 903,
  CAPTURE_UNJOINED = 904,
  CAPTURE_ISOLATION = 905,
  CAPTURE_IMPLICIT = 906,
  CAPTURED_EVENT = 907,
};

enum { MAX_DEVICES = 8 };

struct Device {
  int ordinal;
  size_t capacity, used;
  int memory_file; /* physical memory: a sparse file */
  size_t file_end;
  uint32_t peers; /* contexts whose memory this one may reach */
  struct Stream *null_stream, *streams;
};
extern struct Device devices[MAX_DEVICES];
extern int device_total, threads_mode, virtual_memory, capability_major, capability_minor;
extern CUresult sticky; /* an error that the context doesn't recover from */
extern __thread struct Device *current;

/* control.c */
CUresult begin(const char *name);
CUresult leave(CUresult r);
void violation(const char *text, ...);
struct Stream;
struct Task;
void trace(const struct Stream *s, const struct Task *t); /* what is queued, where a test asks */
#define BEGIN(name)                  \
  do {                               \
    CUresult begun = begin(name);    \
    if (begun) return leave(begun);  \
  } while (0)
#define BEGIN_ON_DEVICE(name)                       \
  BEGIN(name);                                      \
  if (!current) return leave(INVALID_CONTEXT)

/* memory.c */
void memory_init(void);
int is_device_address(CUdeviceptr p);
/* Where the double itself reaches [p, p + bytes): null if not all of it is mapped. `device`: whose
 * it is, -1 of host memory. */
char *reach(CUdeviceptr p, size_t bytes, int *device);
int is_pinned_memory(CUdeviceptr p, size_t bytes);

/* stream.c */
enum TaskKind { COPY, FILL, LAUNCH, RECORD, WAIT, REPLAY, CALL };
struct Task {
  struct Task *next;
  enum TaskKind kind;
  CUdeviceptr to, from; /* of copies and fills */
  size_t bytes;
  void *staged; /* what was copied from pageable memory when the call was made */
  unsigned char value;
  CUfunction kernel;
  int64_t *arguments; /* operands, geometry, scalars */
  int32_t *flags;
  CUevent event;
  struct Stream *on; /* of a wait: the stream whose task `number` it waits for */
  uint64_t number;
  struct EventState *shared; /* of another process' event, or the number for it */
  uint64_t shared_number;
  CUgraph graph;       /* of a replay: as it was when it was launched */
  struct Task *origin; /* of an executable graph's: its node in the graph */
  void (*call)(void *); /* with `staged` */
  CUdeviceptr uses[8];
};
struct Capture {
  uint64_t id;
  int invalidated;
  struct Stream *origin;
  struct Graph *graph; /* what is captured so far */
};
struct Stream {
  struct Stream *next;
  struct Device *device;
  int priority, flags;
  struct Task *first, **last;
  uint64_t submitted, done;
  struct Capture *capture;
  int unjoined; /* what was captured here is not waited for yet */
  struct Task *captured; /* the latest */
  pthread_t thread;
};
struct Event {
  struct Stream *stream; /* null: never recorded */
  uint64_t number;
  double milliseconds; /* when it was reached */
  unsigned flags;
  struct Capture *capture;
  struct EventState *shared; /* of those that processes share */
  int file, imported;
};
struct EventState { /* how often it was recorded, and which of these was reached */
  volatile uint64_t recorded, reached;
};
struct Graph {
  struct Task *first, **last;
  size_t count;
};
extern pthread_mutex_t lock;
extern pthread_cond_t progress;
CUresult enqueue(struct Stream *s, struct Task *t);
void finish(struct Stream *s, uint64_t number); /* waits until that many tasks are done */
void finish_all(struct Device *d);               /* null: of all devices */
struct Stream *resolve(CUstream s);              /* null: the current device's default stream */
struct Task *new_task(enum TaskKind kind);
/* Whether queued work touches the range. */
int in_use(CUdeviceptr p, size_t bytes);
CUresult unsafe_call(void); /* of what may not happen during a capture */

/* Queues what a library does with the memory at `uses` (8 at most, then 0); `about` (of `bytes`) is
 * copied, and `call` is given the copy. */
CUresult enqueue_call(CUstream s, void (*call)(void *), const void *about, size_t bytes,
                      const CUdeviceptr *uses);
/* Where a library's argument is: on the device, of which all is mapped; else a violation. */
void *checked_reach(const char *function, const char *what, CUdeviceptr p, size_t bytes);

/* kernel.c */
CUresult check_grid(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                    unsigned shared);
void set_arguments(struct Task *t, struct Kernel *k, void **params); /* of a launch */
int64_t *copied_arguments(const struct Task *t);
void execute(struct Task *t); /* without the lock while a kernel or a copy runs on a thread */
int touches(const struct Task *t, CUdeviceptr p, size_t bytes);
