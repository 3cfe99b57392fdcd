// Convolutions of one, two or three dims, all as three (a missing dim has extent 1).
#pragma once

#include "tensor/tensor.h"

namespace taimatsu {

struct ConvShape {
  int64_t batch, in_channels, out_channels, groups;
  int64_t in[3], kernel[3], out[3], stride[3], padding[3], dilation[3];

  int64_t in_size() const { return in[0] * in[1] * in[2]; }
  int64_t out_size() const { return out[0] * out[1] * out[2]; }
  int64_t kernel_size() const { return kernel[0] * kernel[1] * kernel[2]; }
  double work() const {
    return static_cast<double>(batch) * out_channels * out_size() * (in_channels / groups) *
           kernel_size();
  }
};

// The three linear maps of x, w, y = conv(x, w): each computes the first operand from the others.
enum class ConvKind { Forward, Data, Weight };

// Groups of one channel, f32 and f64, all operands contiguous. False of any other.
bool depthwise_convolution(ConvKind kind, const ConvShape& shape, const Tensor& x, const Tensor& w,
                           const Tensor* bias, const Tensor& y);

// f32 by oneDNN. x, w, y have batch and channels first, then the shape's dims without those of
// extent 1 that were added: `dims` of them. Any strides. False if oneDNN can't.
#if TM_USE_MKLDNN
bool onednn_convolution(ConvKind kind, const ConvShape& shape, int dims, const Tensor& x,
                        const Tensor& w, const Tensor* bias, const Tensor& y);
#endif

}  // namespace taimatsu
