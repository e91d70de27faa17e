// torch_winograd.h: 2x2 convolutions with half of the multiplications. Shapes as in
// torch_conv.h.
#pragma once

#include "maps.h"

namespace nln {

// suits_winograd says whether winograd takes x and w.
bool suits_winograd(const at::Tensor &x, const at::Tensor &w);

// winograd is a 2x2 convolution that keeps rows and columns, with zeros before the
// first or after the last ones, and `then` of it; x and w as can_convolve takes them.
at::Tensor winograd(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool before, Then then, bool record);

}  // namespace nln
