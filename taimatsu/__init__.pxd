# The C interface for Cython: `from taimatsu cimport tm_api, ...`; see include/taimatsu/taimatsu.h.
#
# A module offers functions to the op table by `cdef public int32_t tm_extension(const tm_api*)`,
# and is loaded by taimatsu.utils.cpp_extension. Plain functions need none of it: a tensor is taken
# by a typed memoryview (`def f(double[:] x)`).
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t

cdef extern from "taimatsu/dlpack.h" nogil:
    ctypedef struct DLDevice:
        int device_type
        int32_t device_id

    ctypedef struct DLDataType:
        uint8_t code
        uint8_t bits
        uint16_t lanes

    ctypedef struct DLTensor:
        void* data
        DLDevice device
        int32_t ndim
        DLDataType dtype
        int64_t* shape
        int64_t* strides
        uint64_t byte_offset

    ctypedef struct DLManagedTensorVersioned:
        pass

    enum:
        kDLInt
        kDLUInt
        kDLFloat
        kDLCPU

cdef extern from "taimatsu/taimatsu.h" nogil:
    enum: TM_VERSION

    ctypedef struct tm_tensor:
        pass

    enum:  # tags of values
        TM_NONE
        TM_TENSOR
        TM_INT
        TM_FLOAT
        TM_COMPLEX
        TM_BOOL
        TM_STRING
        TM_DTYPE
        TM_DEVICE
        TM_TENSORS
        TM_INTS
        TM_FLOATS

    ctypedef union _union "tm_value.as":
        tm_tensor* tensor
        int64_t i
        double[2] f
        const char* string
        DLDataType dtype
        DLDevice device

    ctypedef struct tm_value:
        int32_t tag
        _union as_ "as"

    enum:  # kinds of errors
        TM_RUNTIME_ERROR
        TM_TYPE_ERROR
        TM_VALUE_ERROR
        TM_INDEX_ERROR
        TM_NOT_IMPLEMENTED_ERROR

    ctypedef int32_t (*tm_function)(void*, const tm_value*, tm_value*) noexcept nogil

    ctypedef struct tm_api:
        int32_t version
        size_t size
        int32_t (*define)(const char* schema, const char* doc, tm_function f, void* context) noexcept nogil
        int32_t (*fail)(int32_t error, const char* message) noexcept nogil
        const char* (*why)() noexcept nogil
        int32_t (*describe)(tm_tensor* t, DLTensor* out) noexcept nogil
        tm_tensor* (*retain)(tm_tensor* t) noexcept nogil
        void (*release)(tm_tensor* t) noexcept nogil
        tm_tensor* (*empty)(
            DLDataType dtype, DLDevice device, int32_t ndim, const int64_t* sizes) noexcept nogil
        tm_tensor* (*from_dlpack)(DLManagedTensorVersioned* managed) noexcept nogil
        int32_t (*call)(
            const char* function, const tm_value* args, int32_t nargs, const char* const* keywords,
            int32_t nkeywords, tm_value* results, int32_t capacity) noexcept nogil
        void* (*allocate)(size_t bytes) noexcept nogil
        void (*free)(void* memory) noexcept nogil
        void (*parallel_for)(
            int64_t begin, int64_t end, int64_t grain,
            void (*body)(void*, int64_t, int64_t) noexcept nogil, void* context) noexcept nogil
        int32_t (*num_threads)() noexcept nogil
