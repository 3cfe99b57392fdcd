// The kernels of Fourier transforms in vectors of 16 bytes, which every x86-64 and 64-bit ARM has.
#include "cpu/fft_routine.h"

#pragma GCC optimize("O3")

#define TM_VECTOR_BYTES 16
namespace taimatsu {
namespace fft {
namespace baseline {
#include "cpu/fft_kernel.inc"
}  // namespace baseline
}  // namespace fft
}  // namespace taimatsu
