/* The C interface of Taimatsu, for extensions in any language.
 *
 * An extension is a shared library that exports one function,
 *
 *     int32_t tm_extension(const tm_api* api);
 *
 * which calls api->define for each function that it offers, and returns 0, or -1 after api->fail.
 * taimatsu.utils.cpp_extension builds and loads it; torch/extension.h is a C++ wrapper of this
 * header. Nothing else crosses the border: an extension that was built against one version loads in
 * every later one. Members of tm_api are only ever added at its end, and `size` tells which exist.
 *
 * All of it is called with Python's lock held, that is from the thread in which a function of the
 * extension was called, and not from the body of a parallel_for.
 */
#ifndef TAIMATSU_TAIMATSU_H_
#define TAIMATSU_TAIMATSU_H_

#include <stddef.h>
#include <stdint.h>

#include "dlpack.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TM_VERSION 1

typedef struct tm_tensor tm_tensor; /* a counted reference to a tensor */

typedef enum {
  TM_NONE,
  TM_TENSOR,
  TM_INT,
  TM_FLOAT,
  TM_COMPLEX,
  TM_BOOL,
  TM_STRING, /* UTF-8, ends in 0 */
  TM_DTYPE,  /* as DLPack describes it */
  TM_DEVICE,
  TM_TENSORS, /* lists: of tm_tensor*, */
  TM_INTS,    /* int64_t, */
  TM_FLOATS   /* and double */
} tm_tag;

typedef struct {
  int32_t tag;
  int32_t reserved; /* 0 */
  union {
    tm_tensor* tensor;
    int64_t i; /* of TM_INT and TM_BOOL */
    double f[2];
    const char* string;
    DLDataType dtype;
    DLDevice device;
    struct {
      const void* data;
      int64_t size;
    } list;
  } as;
} tm_value;

typedef enum {
  TM_RUNTIME_ERROR,
  TM_TYPE_ERROR,
  TM_VALUE_ERROR,
  TM_INDEX_ERROR,
  TM_NOT_IMPLEMENTED_ERROR
} tm_error;

/* A function of an extension. `args` has a value for each parameter of the schema, borrowed; a
 * parameter `Tensor?` may be TM_NONE. `results` has room for each result of the schema: the
 * references that are put there are given away, the memory of lists and strings is to come from
 * api->allocate. Returns 0, or -1 after api->fail. */
typedef int32_t (*tm_function)(void* context, const tm_value* args, tm_value* results);

typedef struct tm_api {
  int32_t version; /* TM_VERSION of the running framework */
  int32_t reserved;
  size_t size; /* of this struct, in bytes */

  /* Offers a function: `schema` as in the table, "space::name(Tensor x, float p=0.5) -> Tensor";
   * `context` is passed to each call. Returns 0 or -1. */
  int32_t (*define)(const char* schema, const char* doc, tm_function f, void* context);

  /* Says why a function fails: the exception that Python sees. Returns -1. */
  int32_t (*fail)(int32_t error, const char* message);
  /* Why the last call of this interface failed in this thread. Going on instead of failing is
   * allowed: the reason is then forgotten. */
  const char* (*why)(void);

  /* Describes a tensor: pointers into it, good while the reference is held and no function changes
   * the tensor itself. Strides are always there. Returns 0 or -1. */
  int32_t (*describe)(tm_tensor* t, DLTensor* out);
  tm_tensor* (*retain)(tm_tensor* t);
  void (*release)(tm_tensor* t);
  /* A new tensor, not filled, row-major; null on failure. */
  tm_tensor* (*empty)(DLDataType dtype, DLDevice device, int32_t ndim, const int64_t* sizes);
  /* A tensor of foreign memory, whose deleter is called when the last reference goes. */
  tm_tensor* (*from_dlpack)(DLManagedTensorVersioned* managed);

  /* Calls a function of the framework by its Python name: "add", "nn.functional.linear", or a
   * method of the first argument. The last `nkeywords` of the `nargs` arguments are passed by the
   * names in `keywords`. Returns how many results there are (a tuple has several; at most
   * `capacity` are written, as references to release), or -1. Strings and lists in results are to
   * be freed by the caller, through api->free. */
  int32_t (*call)(const char* function, const tm_value* args, int32_t nargs,
                  const char* const* keywords, int32_t nkeywords, tm_value* results,
                  int32_t capacity);

  void* (*allocate)(size_t bytes); /* null: out of memory */
  void (*free)(void* memory);

  /* Runs body(context, begin, end) over [begin, end) in pieces of at least `grain`, in the
   * framework's threads. The body must not call this interface. */
  void (*parallel_for)(int64_t begin, int64_t end, int64_t grain,
                       void (*body)(void* context, int64_t begin, int64_t end), void* context);
  int32_t (*num_threads)(void);
} tm_api;

#if defined(_WIN32)
#define TM_EXPORT __declspec(dllexport)
#else
#define TM_EXPORT __attribute__((visibility("default")))
#endif
TM_EXPORT int32_t tm_extension(const tm_api* api); /* what an extension has to export */

#ifdef __cplusplus
}
#endif
#endif /* TAIMATSU_TAIMATSU_H_ */
