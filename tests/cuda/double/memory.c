/* Memory.
 *
 * Programs see device memory in a window of addresses that nobody can read or write. The double
 * reaches it through an alias, a second window at a constant distance, where physical memory (a
 * part of the device's file) is mapped. So whatever touches device memory on the host crashes. */
#include "double.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GRANULE = 2 << 20, POISON = 0xcb };
#define WINDOW ((size_t)8 << 40)
#define FILE_BYTES ((size_t)1 << 40)

static char *window, *alias;
static size_t window_end;

struct Physical {
  struct Physical *next;
  struct Device *device;
  int file; /* the device's, or that of another process, opened here */
  size_t offset, bytes;
  int references, fresh; /* the handle itself and its mappings */
};
static struct Physical *unused; /* parts of the devices' files */

struct Range { /* of the window: reserved, or mapped, or pinned memory of the host */
  struct Range *next;
  CUdeviceptr start;
  size_t bytes;
  struct Physical *physical; /* null where only reserved, and of pinned memory */
  uint32_t readable;         /* by these devices */
  int registered;
};
static struct Range *reserved, *mapped, *pinned;

static struct sigaction former;

static void on_fault(int signal, siginfo_t *info, void *context) {
  char *at = info->si_addr;
  if (at >= window && at < window + WINDOW) {
    static const char text[] = "double of libcuda: the host touched device memory\n";
    (void)!write(2, text, sizeof text - 1);
  }
  sigaction(signal, &former, NULL); /* the access is tried again, and meets the former handler */
  (void)context;
}

void memory_init(void) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  window = mmap(NULL, WINDOW, PROT_NONE, flags, -1, 0);
  alias = mmap(NULL, WINDOW, PROT_NONE, flags, -1, 0);
  for (int i = 0; i < device_total; ++i) {
    devices[i].memory_file = memfd_create("device", MFD_CLOEXEC);
    if (ftruncate(devices[i].memory_file, FILE_BYTES)) abort();
  }
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGSEGV, &action, &former);
}

int is_device_address(CUdeviceptr p) {
  return p >= (CUdeviceptr)window && p < (CUdeviceptr)window + WINDOW;
}

static struct Range *add(struct Range **list, CUdeviceptr start, size_t bytes) {
  struct Range *r = calloc(1, sizeof *r);
  r->start = start;
  r->bytes = bytes;
  r->next = *list;
  return *list = r;
}
static struct Range *find(struct Range *list, CUdeviceptr p) {
  while (list && (p < list->start || p >= list->start + list->bytes)) list = list->next;
  return list;
}
static void drop(struct Range **list, struct Range *r) {
  while (*list != r) list = &(*list)->next;
  *list = r->next;
  free(r);
}

char *reach(CUdeviceptr p, size_t bytes, int *device) {
  if (!is_device_address(p)) {
    if (device) *device = -1;
    return (char *)p;
  }
  for (CUdeviceptr at = p; at < p + (bytes ? bytes : 1);) {
    struct Range *r = find(mapped, at);
    if (!r || !r->readable) return NULL;
    if (device) *device = r->physical->device->ordinal;
    at = r->start + r->bytes;
  }
  return alias + (p - (CUdeviceptr)window);
}

int is_pinned_memory(CUdeviceptr p, size_t bytes) {
  struct Range *r = find(pinned, p);
  return r && p + bytes <= r->start + r->bytes;
}

/* ---- Physical memory ---- */

static struct Physical *take(struct Device *d, size_t bytes) {
  if (d->used + bytes > d->capacity) return NULL;
  struct Physical **link = &unused, *p;
  while (*link && ((*link)->device != d || (*link)->bytes != bytes)) link = &(*link)->next;
  if ((p = *link)) {
    *link = p->next;
  } else {
    p = calloc(1, sizeof *p);
    p->device = d;
    p->bytes = bytes;
    p->offset = d->file_end;
    p->file = d->memory_file;
    d->file_end += bytes;
  }
  d->used += bytes;
  p->references = p->fresh = 1;
  return p;
}

static void let_go(struct Physical *p) {
  if (--p->references) return;
  if (p->file != p->device->memory_file) {
    close(p->file);
    free(p);
    return;
  }
  p->device->used -= p->bytes;
  fallocate(p->device->memory_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, p->offset,
            p->bytes);
  p->next = unused;
  unused = p;
}

static struct Range *map(CUdeviceptr start, struct Physical *p) {
  struct Range *r = add(&mapped, start, p->bytes);
  r->physical = p;
  char *at = alias + (start - (CUdeviceptr)window);
  mmap(at, p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p->file, p->offset);
  if (p->fresh) memset(at, POISON, p->bytes);
  p->fresh = 0;
  return r;
}

static void unmap(struct Range *r) {
  mmap(alias + (r->start - (CUdeviceptr)window), r->bytes, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  let_go(r->physical);
  drop(&mapped, r);
}

static CUdeviceptr take_addresses(size_t bytes) {
  CUdeviceptr start = (CUdeviceptr)window + window_end;
  window_end += bytes + GRANULE; /* with a hole behind, that overruns fall into */
  window_end = (window_end + GRANULE - 1) / GRANULE * GRANULE;
  if (window_end > WINDOW) abort();
  return start;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t bytes) {
  BEGIN_ON_DEVICE("cuMemAlloc_v2");
  CUresult r = unsafe_call();
  if (r) return leave(r);
  if (!bytes) return leave(INVALID_VALUE);
  size_t whole = (bytes + 4095) / 4096 * 4096;
  struct Physical *p = take(current, whole);
  if (!p) return leave(OUT_OF_MEMORY);
  *out = take_addresses(whole);
  map(*out, p)->readable = 1u << current->ordinal;
  return leave(SUCCESS);
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr p) {
  BEGIN_ON_DEVICE("cuMemFree_v2");
  struct Range *r = find(mapped, p);
  if (!r || r->start != p) return leave(INVALID_VALUE);
  finish_all(NULL); /* as the driver does */
  unmap(r);
  return leave(SUCCESS);
}

EXPORT CUresult cuMemGetInfo_v2(size_t *available, size_t *total) {
  BEGIN_ON_DEVICE("cuMemGetInfo_v2");
  *available = current->capacity > current->used ? current->capacity - current->used : 0;
  *total = current->capacity;
  return leave(SUCCESS);
}

/* ---- Virtual memory ---- */

struct Properties {
  int type, handle_types, location_type, device;
};

EXPORT CUresult cuMemGetAllocationGranularity(size_t *out, const struct Properties *p, int option) {
  BEGIN("cuMemGetAllocationGranularity");
  (void)p, (void)option;
  *out = GRANULE;
  return leave(SUCCESS);
}
EXPORT CUresult cuMemAddressReserve(CUdeviceptr *out, size_t bytes, size_t alignment,
                                    CUdeviceptr hint, unsigned long long flags) {
  BEGIN("cuMemAddressReserve");
  (void)alignment, (void)hint, (void)flags;
  if (!bytes || bytes % GRANULE) return leave(INVALID_VALUE);
  *out = take_addresses(bytes);
  add(&reserved, *out, bytes);
  return leave(SUCCESS);
}
EXPORT CUresult cuMemAddressFree(CUdeviceptr p, size_t bytes) {
  BEGIN("cuMemAddressFree");
  struct Range *r = find(reserved, p);
  if (!r || r->start != p || r->bytes != bytes) return leave(INVALID_VALUE);
  for (struct Range *m = mapped; m; m = m->next) {
    if (m->start >= p && m->start < p + bytes) return leave(INVALID_VALUE);
  }
  drop(&reserved, r);
  return leave(SUCCESS);
}
EXPORT CUresult cuMemCreate(uint64_t *out, size_t bytes, const struct Properties *p,
                            unsigned long long flags) {
  BEGIN("cuMemCreate");
  (void)flags;
  CUresult r = unsafe_call();
  if (r) return leave(r);
  if (!bytes || bytes % GRANULE || p->device < 0 || p->device >= device_total) {
    return leave(INVALID_VALUE);
  }
  struct Physical *taken = take(&devices[p->device], bytes);
  *out = (uint64_t)taken;
  return leave(taken ? SUCCESS : OUT_OF_MEMORY);
}
EXPORT CUresult cuMemRelease(uint64_t handle) {
  BEGIN("cuMemRelease");
  let_go((struct Physical *)handle);
  return leave(SUCCESS);
}
EXPORT CUresult cuMemMap(CUdeviceptr p, size_t bytes, size_t offset, uint64_t handle,
                         unsigned long long flags) {
  BEGIN("cuMemMap");
  (void)flags;
  struct Physical *physical = (struct Physical *)handle;
  struct Range *r = find(reserved, p);
  if (!r || p + bytes > r->start + r->bytes || offset || bytes != physical->bytes || p % GRANULE) {
    return leave(INVALID_VALUE);
  }
  for (CUdeviceptr at = p; at < p + bytes; at += GRANULE) {
    if (find(mapped, at)) return leave(INVALID_VALUE);
  }
  ++physical->references;
  map(p, physical);
  return leave(SUCCESS);
}
EXPORT CUresult cuMemUnmap(CUdeviceptr p, size_t bytes) {
  BEGIN("cuMemUnmap");
  if (in_use(p, bytes)) violation("memory is unmapped while queued work uses it");
  for (CUdeviceptr at = p; at < p + bytes;) {
    struct Range *r = find(mapped, at);
    if (!r || r->start != at || at + r->bytes > p + bytes) return leave(INVALID_VALUE);
    at += r->bytes;
    unmap(r);
  }
  return leave(SUCCESS);
}
EXPORT CUresult cuMemSetAccess(CUdeviceptr p, size_t bytes, const void *descriptions,
                               size_t count) {
  BEGIN("cuMemSetAccess");
  const struct {
    int type, device, flags;
  } *d = descriptions;
  for (CUdeviceptr at = p; at < p + bytes;) {
    struct Range *r = find(mapped, at);
    if (!r) return leave(INVALID_VALUE);
    for (size_t i = 0; i < count; ++i) {
      if (d[i].flags == 3) r->readable |= 1u << d[i].device;
    }
    at = r->start + r->bytes;
  }
  return leave(SUCCESS);
}

/* ---- Memory of other processes. A handle tells whose file it is a part of; as on a GPU, the
 * exporter has to keep what the importer uses: what it gives back is gone here too. ---- */

struct Ticket {
  int process, file, device;
  size_t offset, bytes;
};

static struct Physical *foreign(const struct Ticket *t) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", t->process, t->file);
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return NULL;
  struct Physical *p = calloc(1, sizeof *p);
  p->device = &devices[t->device];
  p->file = file;
  p->offset = t->offset;
  p->bytes = t->bytes;
  p->references = 1;
  return p;
}
static struct Ticket ticket_of(const struct Physical *p) {
  return (struct Ticket){getpid(), p->file, p->device->ordinal, p->offset, p->bytes};
}

EXPORT CUresult cuMemExportToShareableHandle(void *out, uint64_t handle, int type,
                                             unsigned long long flags) {
  BEGIN("cuMemExportToShareableHandle");
  if (type != 1 || flags) return leave(INVALID_VALUE);
  struct Ticket t = ticket_of((struct Physical *)handle);
  int file = memfd_create("exported", MFD_CLOEXEC);
  if (write(file, &t, sizeof t) != sizeof t) abort();
  *(int *)out = file;
  return leave(SUCCESS);
}
EXPORT CUresult cuMemImportFromShareableHandle(uint64_t *out, void *name, int type) {
  BEGIN("cuMemImportFromShareableHandle");
  struct Ticket t;
  if (type != 1 || pread((int)(intptr_t)name, &t, sizeof t, 0) != sizeof t) {
    return leave(INVALID_VALUE);
  }
  *out = (uint64_t)foreign(&t);
  return leave(*out ? SUCCESS : INVALID_VALUE);
}

struct Handle {
  struct Ticket ticket;
  char rest[64 - sizeof(struct Ticket)];
};
EXPORT CUresult cuIpcGetMemHandle(struct Handle *out, CUdeviceptr p) {
  BEGIN_ON_DEVICE("cuIpcGetMemHandle");
  struct Range *r = find(mapped, p);
  if (!r || r->start != p || find(reserved, p)) return leave(INVALID_VALUE);
  memset(out, 0, sizeof *out);
  out->ticket = ticket_of(r->physical);
  return leave(SUCCESS);
}
EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *out, struct Handle handle, unsigned flags) {
  BEGIN_ON_DEVICE("cuIpcOpenMemHandle_v2");
  if (flags != 1) return leave(INVALID_VALUE);
  if (handle.ticket.process == getpid()) return leave(INVALID_CONTEXT);
  struct Physical *p = foreign(&handle.ticket);
  if (!p) return leave(INVALID_VALUE);
  *out = take_addresses(p->bytes);
  map(*out, p)->readable = 1u << current->ordinal;
  return leave(SUCCESS);
}
EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr p) {
  BEGIN_ON_DEVICE("cuIpcCloseMemHandle");
  struct Range *r = find(mapped, p);
  if (!r || r->start != p) return leave(INVALID_VALUE);
  if (in_use(p, r->bytes)) violation("memory of another process is closed while in use");
  unmap(r);
  return leave(SUCCESS);
}

/* ---- Pinned memory of the host ---- */

EXPORT CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
  BEGIN_ON_DEVICE("cuMemHostAlloc");
  (void)flags;
  CUresult r = unsafe_call();
  if (r) return leave(r);
  *out = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (*out == MAP_FAILED) return leave(OUT_OF_MEMORY);
  add(&pinned, (CUdeviceptr)*out, bytes);
  return leave(SUCCESS);
}
EXPORT CUresult cuMemFreeHost(void *p) {
  BEGIN("cuMemFreeHost");
  struct Range *r = find(pinned, (CUdeviceptr)p);
  if (!r || r->start != (CUdeviceptr)p || r->registered) return leave(INVALID_VALUE);
  finish_all(NULL);
  munmap(p, r->bytes);
  drop(&pinned, r);
  return leave(SUCCESS);
}
EXPORT CUresult cuMemHostRegister_v2(void *p, size_t bytes, unsigned flags) {
  BEGIN_ON_DEVICE("cuMemHostRegister_v2");
  (void)flags;
  add(&pinned, (CUdeviceptr)p, bytes)->registered = 1;
  return leave(SUCCESS);
}
EXPORT CUresult cuMemHostUnregister(void *p) {
  BEGIN("cuMemHostUnregister");
  struct Range *r = find(pinned, (CUdeviceptr)p);
  if (!r || !r->registered) return leave(INVALID_VALUE);
  drop(&pinned, r);
  return leave(SUCCESS);
}

EXPORT CUresult cuPointerGetAttribute(void *value, int attribute, CUdeviceptr p) {
  BEGIN("cuPointerGetAttribute");
  struct Range *m = find(mapped, p), *h = find(pinned, p);
  if (!m && !h) return leave(INVALID_VALUE);
  if (attribute == 2) {
    *(unsigned *)value = m ? 2 : 1;
  } else if (attribute == 9) {
    *(int *)value = m ? m->physical->device->ordinal : 0;
  } else {
    return leave(INVALID_VALUE);
  }
  return leave(SUCCESS);
}
