/* The C interface by itself. */
#include <taimatsu/taimatsu.h>

static const tm_api* api;

static int32_t count_positive(void* context, const tm_value* args, tm_value* results) {
  DLTensor x;
  (void)context;
  if (api->describe(args[0].as.tensor, &x)) return -1;
  if (x.dtype.code != kDLFloat || x.dtype.bits != 64 || x.ndim != 1) {
    return api->fail(TM_TYPE_ERROR, "x has to be a vector of float64");
  }
  int64_t n = 0;
  for (int64_t i = 0; i < x.shape[0]; ++i) n += ((double*)x.data)[i * x.strides[0]] > 0;
  results[0].tag = TM_INT;
  results[0].as.i = n;
  return 0;
}

static int32_t negated(void* context, const tm_value* args, tm_value* results) {
  (void)context;
  return api->call("neg", args, 1, 0, 0, results, 1) == 1 ? 0
                                                          : api->fail(TM_RUNTIME_ERROR, api->why());
}

int32_t tm_extension(const tm_api* given) {
  api = given;
  if (api->version < 1 || api->size < sizeof(tm_api)) {
    return api->fail(TM_RUNTIME_ERROR, "an older framework than this was built for");
  }
  if (api->define("count_positive(Tensor x) -> int", "How many are positive.", count_positive, 0)) {
    return -1;
  }
  return api->define("negated(Tensor x) -> Tensor", "-x", negated, 0);
}
