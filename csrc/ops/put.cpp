// Writing rows at positions: the native op behind x[index] = value.
#include <complex>

#include "autograd/autograd.h"
#include "ops/launch.h"

namespace taimatsu {
namespace {

int64_t position_at(const Tensor& index, int64_t i) {
  return index.as<int64_t>()[i * (index.ndim() ? index.layout->stride(0) : 0)];
}

void infer_put(Call& c) {
  Tensor &self = c.args[0].t(), &index = c.args[1].t(), &src = c.args[2].t();
  if (index.dtype != DType::I64) fail(Error::Index, "positions must be int64");
  if (self.ndim() != 3 || src.ndim() != 3 || self.dtype != src.dtype ||
      src.layout->size(0) != self.layout->size(0) || src.layout->size(1) != index.numel() ||
      src.layout->size(2) != self.layout->size(2)) {
    fail(Error::Runtime, "values of shape ", format(src.sizes()), " don't fit ", index.numel(),
         " positions in ", format(self.sizes()));
  }
  if (index.device().type == DeviceType::Meta) return;
  const int64_t n = self.layout->size(1);
  for (int64_t i = 0; i < index.numel(); ++i) {
    const int64_t at = position_at(index, i);
    if (at < 0 || at >= n) {
      fail(Error::Index, "index ", at, " is out of bounds for dimension 0 with size ", n);
    }
  }
}

template <class T>
void put(Tensor& self, const Tensor& index, const Tensor& src, bool accumulate) {
  T* to = self.as<T>();
  const T* from = src.as<T>();
  const int64_t *ts = self.layout->stride_data(), *fs = src.layout->stride_data();
  const int64_t outer = src.layout->size(0), rows = src.layout->size(1),
                inner = src.layout->size(2);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t d = 0; d < rows; ++d) {
      T* row = to + o * ts[0] + position_at(index, d) * ts[1];
      const T* value = from + o * fs[0] + d * fs[1];
      if (!accumulate) {
        for (int64_t i = 0; i < inner; ++i) row[i * ts[2]] = value[i * fs[2]];
      } else {
        for (int64_t i = 0; i < inner; ++i) row[i * ts[2]] += value[i * fs[2]];
      }
    }
  }
}

// Without arithmetic an element is its bytes.
template <int Bytes>
struct alignas(Bytes > 8 ? 8 : Bytes) Raw {
  char bytes[Bytes];
  Raw& operator+=(const Raw&) { return *this; }
};

void run_put(Call& c) {
  Tensor &self = c.args[0].t(), &index = c.args[1].t();
  TensorRef src = overlap(self, c.args[2].t()) == Overlap::None ? TensorRef(c.args[2].tensor)
                                                                : clone(c.args[2].t());
  if (!c.args[3].to_bool()) {
    switch (itemsize(self.dtype)) {
      case 1: return put<Raw<1>>(self, index, *src, false);
      case 2: return put<Raw<2>>(self, index, *src, false);
      case 4: return put<Raw<4>>(self, index, *src, false);
      case 8: return put<Raw<8>>(self, index, *src, false);
      default: return put<Raw<16>>(self, index, *src, false);
    }
  }
  switch (self.dtype) {
    case DType::F32: return put<float>(self, index, *src, true);
    case DType::F64: return put<double>(self, index, *src, true);
    case DType::C64: return put<std::complex<float>>(self, index, *src, true);
    case DType::C128: return put<std::complex<double>>(self, index, *src, true);
    case DType::Bool: return put<bool>(self, index, *src, true);
    case DType::U8:
    case DType::I8: return put<uint8_t>(self, index, *src, true);
    case DType::U16:
    case DType::I16: return put<uint16_t>(self, index, *src, true);
    case DType::U32:
    case DType::I32: return put<uint32_t>(self, index, *src, true);
    case DType::U64:
    case DType::I64: return put<uint64_t>(self, index, *src, true);
    default: {  // 16-bit floats: sums in f32, rounded once per position written
      TensorRef wide = empty(self.sizes(), DType::F32), values = empty(src->sizes(), DType::F32);
      copy_into(*wide, self);
      copy_into(*values, *src);
      put<float>(*wide, index, *values, true);
      copy_into(self, *wide);
    }
  }
}

TM_NATIVE("_put_", infer_put, run_put);

}  // namespace
}  // namespace taimatsu
