// torch_conv.h: 2x2 convolutions on the CPU, with gradients. Maps are (N, C, H,
// W), kernels (O, C, 2, 2), biases (O).
#pragma once

#include "torch.h"

namespace nln {

// can_convolve says whether these functions take x and w; scale is 2 for
// up_conv2x2, else 1.
bool can_convolve(const at::Tensor &x, const at::Tensor &w, int64_t scale);

// conv2x2 keeps rows and columns, with zeros before the first or after the last
// ones; then ReLU.
at::Tensor conv2x2(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool before, bool relu);

// conv2x2_rows is conv2x2 with zeros after and ReLU, flattened to (N, O*H*W).
at::Tensor conv2x2_rows(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b);

// conv2x2_pool is conv2x2 with zeros after, ReLU and the maxima of 2x2 windows.
at::Tensor conv2x2_pool(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b);

// up_conv2x2 repeats each row and column and is conv2x2 with zeros before.
at::Tensor up_conv2x2(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool relu);

}  // namespace nln
