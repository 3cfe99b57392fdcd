# cython: language_level=3, boundscheck=False
"""Cubes in Cython: as a function of memoryviews, and as an op of the table by the C interface."""
from libc.stdint cimport int32_t, int64_t
from taimatsu cimport (
    TM_TENSOR, TM_TYPE_ERROR, DLTensor, kDLFloat, tm_api, tm_tensor, tm_value,
)


def cubes(const double[:] x, double[:] out):
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        out[i] = x[i] * x[i] * x[i]


cdef const tm_api* api


cdef int32_t cubed(void* context, const tm_value* args, tm_value* results) noexcept nogil:
    cdef DLTensor x, y
    cdef tm_tensor* made
    cdef int64_t i
    if api.describe(args[0].as_.tensor, &x):
        return -1
    if x.dtype.code != kDLFloat or x.dtype.bits != 64 or x.ndim != 1:
        return api.fail(TM_TYPE_ERROR, "cubed: x has to be a vector of float64")
    made = api.empty(x.dtype, x.device, 1, x.shape)
    if made == NULL or api.describe(made, &y):
        return -1
    for i in range(x.shape[0]):
        (<double*>y.data)[i] = (<double*>x.data)[i * x.strides[0]] ** 3
    results[0].tag = TM_TENSOR
    results[0].as_.tensor = made
    return 0


cdef public int32_t tm_extension(const tm_api* given) noexcept nogil:
    global api
    api = given
    return api.define("cython_test::cubed(Tensor x) -> Tensor", "x^3", cubed, NULL)
