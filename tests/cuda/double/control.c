/* What tests set and ask. */
#include "double.h"

#include <stdarg.h>

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
CUresult sticky = SUCCESS;
static int started = 0;
static char first_violation[512];

struct Rule { /* calls of `name`: how many, and which of them fail */
  struct Rule *next;
  char name[64];
  long calls, after, times;
  CUresult error;
};
static struct Rule *rules;

static struct Rule *rule(const char *name) {
  struct Rule *r = rules;
  while (r && strcmp(r->name, name)) r = r->next;
  if (!r) {
    r = calloc(1, sizeof *r);
    snprintf(r->name, sizeof r->name, "%s", name);
    r->next = rules;
    rules = r;
  }
  return r;
}

CUresult begin(const char *name) {
  pthread_mutex_lock(&lock);
  struct Rule *r = rule(name);
  ++r->calls;
  if (!started && strcmp(name, "cuInit")) return NOT_INITIALIZED;
  started = 1;
  if (r->times && r->after-- <= 0) {
    r->after = 0;
    --r->times;
    return r->error;
  }
  return sticky;
}

CUresult leave(CUresult r) {
  pthread_mutex_unlock(&lock);
  return r;
}

void violation(const char *text, ...) {
  va_list rest;
  va_start(rest, text);
  if (!first_violation[0]) vsnprintf(first_violation, sizeof first_violation, text, rest);
  va_end(rest);
}

/* After `after` more calls, the next `times` of the function return `error`. */
EXPORT void double_fail(const char *name, long after, long times, CUresult error) {
  pthread_mutex_lock(&lock);
  struct Rule *r = rule(name);
  r->after = after;
  r->times = times;
  r->error = error;
  pthread_mutex_unlock(&lock);
}

/* Calls so far; of all functions where `name` is null. */
EXPORT long double_calls(const char *name) {
  pthread_mutex_lock(&lock);
  long n = 0;
  for (struct Rule *r = rules; r; r = r->next) {
    if (!name || !strcmp(name, r->name)) n += r->calls;
  }
  pthread_mutex_unlock(&lock);
  return n;
}

/* The names of all functions that were called so far, or are to fail. */
EXPORT const char *double_functions(void) {
  static char names[8192];
  pthread_mutex_lock(&lock);
  size_t end = 0;
  for (struct Rule *r = rules; r && end < sizeof names; r = r->next) {
    end += snprintf(names + end, sizeof names - end, "%s ", r->name);
  }
  pthread_mutex_unlock(&lock);
  return names;
}

/* The first thing that a program did and mustn't; empty if none. Forgotten when it is told. */
EXPORT const char *double_violation(void) {
  static char told[sizeof first_violation];
  pthread_mutex_lock(&lock);
  memcpy(told, first_violation, sizeof told);
  first_violation[0] = 0;
  pthread_mutex_unlock(&lock);
  return told;
}

EXPORT void double_set_memory(int device, size_t bytes) { devices[device].capacity = bytes; }
EXPORT size_t double_used(int device) { return devices[device].used; }
EXPORT void double_recover(void) { sticky = SUCCESS; } /* as no real context does */

EXPORT long double_pending(void) {
  pthread_mutex_lock(&lock);
  long n = 0;
  for (int i = 0; i < device_total; ++i) {
    for (struct Stream *s = devices[i].streams; s; s = s->next) n += s->submitted - s->done;
  }
  pthread_mutex_unlock(&lock);
  return n;
}

/* ---- What is queued, a line each: the stream, what, and of a wait the stream waited for ---- */

static FILE *lines;
static char *text_of_lines;
static size_t text_bytes;

static uint64_t handle_of(const struct Stream *s) {
  return s == s->device->null_stream ? 0 : (uint64_t)s;
}
void trace(const struct Stream *s, const struct Task *t) {
  static const char *const kinds[] = {"copy", "fill", "launch", "record", "wait", "replay", "call"};
  if (!lines) return;
  fprintf(lines, "%lu %s", handle_of(s), kinds[t->kind]);
  if (t->kind == WAIT) fprintf(lines, " %lu", handle_of(t->on));
  fputc('\n', lines);
}
EXPORT void double_trace_begin(void) {
  pthread_mutex_lock(&lock);
  if (!lines) lines = open_memstream(&text_of_lines, &text_bytes);
  pthread_mutex_unlock(&lock);
}
/* What was queued since; valid until the next call. */
EXPORT const char *double_trace_end(void) {
  static char *told;
  pthread_mutex_lock(&lock);
  if (lines) fclose(lines);
  lines = NULL;
  free(told);
  told = text_of_lines;
  text_of_lines = NULL;
  pthread_mutex_unlock(&lock);
  return told;
}

static const struct {
  CUresult code;
  const char *name, *text;
} errors[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {PEER_ALREADY_ENABLED, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED",
     "peer access is already enabled"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "the capture was not initiated in this stream"},
    {CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "dependency created on uncaptured work in another stream"},
    {CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing stream"},
    {CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
};

static CUresult look_up(CUresult r, const char **name, const char **text) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i) {
    if (errors[i].code != r) continue;
    if (name) *name = errors[i].name;
    if (text) *text = errors[i].text;
    return SUCCESS;
  }
  return INVALID_VALUE;
}
EXPORT CUresult cuGetErrorName(CUresult r, const char **name) { return look_up(r, name, NULL); }
EXPORT CUresult cuGetErrorString(CUresult r, const char **text) { return look_up(r, NULL, text); }
