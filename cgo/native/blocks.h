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

// A Segment is a run of values, from `offset` on.
struct Segment {
  int64_t offset, count;
};

// A Factor is the left factor of a product, a matrix whose rows need not be
// stored: row i is what the segments give from values + at[i] on, one after the
// other. The patches of a map under a kernel are such rows, two runs each where
// the channels are last, so that a convolution is a product without copies.
struct Factor {
  const float *values;
  const int32_t *at;
  int64_t rows;
  const Segment *segment;
  int segments;
};

// A Tile is a part of a map with as many rows and columns, 2 or 3, that begins at
// (y, x). Its convolution with a 2x2 kernel looks at one more row and column of
// pixels, and is made of as many products as these have pixels, of *points*, which
// are combinations of the pixels (torch_winograd.cc says which). Point (i, j) stands
// in row point[4 * i + j] of a matrix.
struct Tile {
  int32_t rows, columns, y, x, point[16];
};

// Tiles are those of one map, in which each row has `columns` pixels. A pointer into a
// map may begin at a later channel.
struct Tiles {
  const Tile *tile;
  int64_t count, columns;
};

// Adam is an update of it: m moves to the gradient by 1 - beta1, v to its square by
// 1 - beta2, p against m / (sqrt(v) * root + eps) by rate.
struct Adam {
  float beta1, beta2, rate, root, eps;
};

// A Level is one set of instructions; all give the same values but for the
// rounding of fused multiplications.
struct Level {
  const char *name;

  // The columns of a panel. The right factor of a product is laid out in panels,
  // one after the other: (panel, row, column of the panel), the last one filled
  // up with zeros.
  int width;

  // Row i of the product of x and w, plus bias, goes to y + to[i], `columns`
  // values; with relu no less than 0. bias has a multiple of `width` values.
  void (*multiply)(const Factor &x, const float *w, const float *bias, int64_t columns, bool relu, float *y,
                   const int32_t *to);

  // Adds to sum, laid out in panels, the product of the transpose of x and g,
  // whose row i is g + from[i], `columns` values; up to width - 1 more are read
  // and do not matter. Value k of a row of x is at offset[k], `depth` in all; its
  // segments do not matter.
  void (*outer)(const Factor &x, const int32_t *offset, int64_t depth, const float *g, const int32_t *from,
                int64_t columns, float *sum);

  // Writes the sixteen combinations of `count` 2x2 kernels (torch_winograd.cc), whose four
  // values are `size` apart, `pair` apart, and zeros up to a vector.
  void (*kinds)(const float *kernel, int64_t size, int64_t count, float *to, int64_t pair);

  // Transposes a matrix.
  void (*turn)(const float *x, int64_t rows, int64_t columns, float *y);

  // The four below go through tiles. A pixel of a map has `channels` values, a row of
  // points or products `step`; `run` of either, a multiple of 16, are made.

  // Makes points of the pixels of x.
  void (*take)(const Tiles &t, const float *x, int64_t channels, int64_t run, float *points, int64_t step);

  // Makes results out of products, plus bias; with relu no less than 0.
  void (*give)(const Tiles &t, const float *products, int64_t step, const float *bias, bool relu, int64_t run, float *y,
               int64_t channels);

  // Makes gradients of products out of those of the results.
  void (*give_back)(const Tiles &t, const float *gy, int64_t channels, int64_t run, float *products, int64_t step);

  // Adds gradients of pixels, out of those of points, to gx.
  void (*take_back)(const Tiles &t, const float *points, int64_t step, int64_t run, float *gx, int64_t channels);

  // Copies a gradient, w pixels of c channels, to gx, which may be gy: all of it, or where
  // y, the result of a ReLU, is not 0. Adds it to sum, a value a channel.
  void (*pass)(const float *gy, const float *y, int64_t w, int64_t c, float *gx, float *sum);

  // Maxima of the 2x2 windows of one map x (2h, 2w, channels), no less than 0,
  // in y, and which value of its window each is, row by row, in index, which may
  // be NULL.
  void (*relu_pool)(const float *x, Shape s, float *y, uint8_t *index);

  // The gradient gx of relu_pool for the gradient gy. Adds what passes to sum, a value a
  // channel, unless it is NULL.
  void (*relu_pool_back)(const float *gy, const uint8_t *index, Shape s, float *gx, float *sum);

  // relu_pool of the 2x2 convolution of one image with zeros after it. x has
  // `planes` planes of 2h+1 rows and 2w+1 columns, the last of which are 0. w is
  // (channel, 2, 2, lanes) for a multiple of kLanes filters, of which s.channels
  // count.
  void (*conv_pool)(const float *x, int planes, const float *w, const float *bias, Shape s, float *y, uint8_t *index);

  // Adds to gw, laid out like w, and gbias the gradient of conv_pool for gy.
  void (*conv_pool_back)(const float *x, int planes, const float *gy, const uint8_t *index, Shape s, float *gw, float *gbias);

  // Adds to gx, laid out like x, the gradient of conv_pool for gy.
  void (*conv_pool_back_image)(const float *w, int planes, const float *gy, const uint8_t *index, Shape s, float *gx);

  // One update of n values p with moments m and v for the gradient g.
  void (*adam)(const Adam &a, int64_t n, const float *g, float *p, float *m, float *v);
};

// fastest returns the level that this processor runs fastest; NLN_ISA names
// another, for tests: "plain", "avx2" or "avx512".
const Level &fastest();

}  // namespace nln::blocks
