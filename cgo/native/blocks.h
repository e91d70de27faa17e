// blocks.h: kernels of the networks' blocks on the CPU, over plain memory.
//
// Maps are laid out with the channels last: row, column, channel. `half` stands
// for the rows h and columns w of a map after pooling, a half of those before.
#pragma once

#include <cstdint>

namespace nln::blocks {

// kNone is the index of a window without a positive value.
constexpr uint8_t kNone = 4;

// The filters that ConvPool handles at a time; others are zeros.
constexpr int kLanes = 16;

// The channels of an image that ConvPool takes at most.
constexpr int kMaxChannels = 4;

struct Shape {
  int64_t h, w;      // of the pooled map
  int64_t channels;  // of it
};

// A Level is one set of instructions; all give the same values but for the
// rounding of fused multiplications.
struct Level {
  const char *name;

  // Maxima of the 2x2 windows of one map x (2h, 2w, channels), no less than 0,
  // in y, and which value of its window each is, row by row, in index, which may
  // be NULL.
  void (*relu_pool)(const float *x, Shape s, float *y, uint8_t *index);

  // The gradient gx of relu_pool for the gradient gy.
  void (*relu_pool_back)(const float *gy, const uint8_t *index, Shape s, float *gx);

  // relu_pool of the 2x2 convolution of one image with zeros after it. x has
  // `planes` planes of 2h+1 rows and 2w+1 columns, the last of which are 0. w is
  // (channel, 2, 2, lanes) for a multiple of kLanes filters, of which s.channels
  // count.
  void (*conv_pool)(const float *x, int planes, const float *w, const float *bias, Shape s, float *y, uint8_t *index);

  // Adds to gw, laid out like w, and gbias the gradient of conv_pool for gy.
  void (*conv_pool_back)(const float *x, int planes, const float *gy, const uint8_t *index, Shape s, float *gw, float *gbias);

  // Adds to gx, laid out like x, the gradient of conv_pool for gy.
  void (*conv_pool_back_image)(const float *w, int planes, const float *gy, const uint8_t *index, Shape s, float *gx);
};

// fastest returns the level that this processor runs fastest; NLN_ISA names
// another, for tests: "plain", "avx2" or "avx512".
const Level &fastest();

}  // namespace nln::blocks
