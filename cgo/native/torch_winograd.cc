// torch_winograd.cc: 2x2 convolutions after Winograd (Arithmetic Complexity of
// Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural
// Networks, 2016).
//
// Along one axis, two results y of a kernel (g0, g1) are three products in place
// of four, and three results four in place of six:
//
//   y0 = d0 g0 + d1 g1 = (d0 - d1) g0 + 2 d1 (g0 + g1)/2
//   y1 = d1 g0 + d2 g1 = 2 d1 (g0 + g1)/2 - (d1 - d2) g1
//
//   y0 = d0 g0 + d1 g1 = (d0 - d2) g0 + s + t     s = (d1 + d2) (g0 + g1)/2
//   y1 = d1 g0 + d2 g1 = s - t                    t = (d2 - d1) (g0 - g1)/2
//   y2 = d2 g0 + d3 g1 = (d3 - d1) g1 + s + t
//
// An axis is cut into such threes and twos, and both axes of a map are treated so:
// the products are of combinations of pixels, the *points*, with sixteen
// combinations of the kernel's four values, one for each pair of kinds of points.
// All points of a pair are rows of one product of matrices with the channels as
// its depth. That takes 0.46 to 0.51 of the multiplications of 14x14 and 7x7 maps.
//
// The gradients are the same in reverse: the products' gradients are combinations
// of the result's, with which the gradient of the kernel is one sum of outer
// products for each pair, and that of the pixels one product.
#include "torch_winograd.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

namespace nln {

namespace {

using blocks::Factor;
using blocks::Segment;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The kinds of points of an axis, by what they multiply: g0, (g0 + g1)/2, g1 and
// (g0 - g1)/2.
constexpr int kKinds = 4, kPairs = kKinds * kKinds;

// The pixels of all maps that a thread takes at a time, and of a map at most: the points
// of larger ones do not stay in its cache.
constexpr int64_t kMostPixels = 1024;

// Values that are written before they are read.
using Room = std::unique_ptr<float[]>;
Room room(int64_t n) { return Room(new float[static_cast<size_t>(n)]); }

// An Axis is where n pixels in a row are cut, and how many points of a kind there are.
struct Axis {
  std::vector<int64_t> begin, size;
  int64_t count[kKinds] = {};

  explicit Axis(int64_t n) {
    for (int64_t at = 0; at < n; at += size.back()) {
      const int64_t left = n - at;
      begin.push_back(at), size.push_back(left == 2 || left == 4 ? 2 : 3);
      for (int64_t k = 0; k <= size.back(); k++) count[k]++;
    }
  }
};

std::vector<int32_t> multiples(int64_t step, int64_t count) {
  std::vector<int32_t> at(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; i++) at[static_cast<size_t>(i)] = static_cast<int32_t>(i * step);
  return at;
}

// A Plan is the tiles of some maps, whose points are rows of matrices, one for each
// pair of kinds, in which map follows map; and what else both directions need.
struct Plan {
  Maps from, to;
  int64_t block = 2 * level().width;           // columns of the result at a time: those of a tile of a product
  int64_t panels, panel;                       // of a kernel's factor, and the values of one
  std::vector<int32_t> points_at, products_at;  // where rows begin

  int64_t most;                               // maps at a time
  int64_t base[kPairs], count[kPairs];        // the first row of a pair, and the rows of a map
  int64_t rows = 0;                           // of all matrices
  std::vector<std::vector<blocks::Tile>> of;  // a map

  Plan(const at::Tensor &input, const at::Tensor &weight)
      : from(maps(input)), to{from.count, from.h, from.w, weight.size(0)}, panels((to.c + level().width - 1) / level().width),
        panel(from.c * level().width), most(maps_at_once(from)) {
    const Axis y(from.h), x(from.w);
    for (int p = 0; p < kPairs; p++) {
      count[p] = y.count[p / kKinds] * x.count[p % kKinds];
      base[p] = rows, rows += most * count[p];
    }
    for (int64_t k = 0; k < most; k++) {
      std::vector<blocks::Tile> tiles;
      int64_t next[kPairs];
      for (int p = 0; p < kPairs; p++) next[p] = base[p] + k * count[p];
      for (size_t i = 0; i < y.begin.size(); i++)
        for (size_t j = 0; j < x.begin.size(); j++) {
          blocks::Tile t{static_cast<int32_t>(y.size[i]), static_cast<int32_t>(x.size[j]), static_cast<int32_t>(y.begin[i]),
                         static_cast<int32_t>(x.begin[j]), {}};
          for (int64_t a = 0; a <= t.rows; a++)
            for (int64_t b = 0; b <= t.columns; b++) t.point[4 * a + b] = static_cast<int32_t>(next[a * kKinds + b]++);
          tiles.push_back(t);
        }
      of.push_back(std::move(tiles));
    }
    points_at = multiples(from.c, rows), products_at = multiples(block, rows);
  }

  // A thread takes as many maps at a time as make the products large, and no more
  // than its cache takes.
  static int64_t maps_at_once(const Maps &m) {
    const int64_t share = (m.count + parts_of(m.count) - 1) / parts_of(m.count);
    int64_t n = 16;
    while (n > 1 && (n * m.pixels() > kMostPixels || n / 2 >= share)) n /= 2;
    return n;
  }

  // tiles returns those of map k in rows of so many pixels.
  blocks::Tiles tiles(int64_t k, int64_t columns) const {
    const auto &t = of[static_cast<size_t>(k)];
    return {t.data(), static_cast<int64_t>(t.size()), columns};
  }
};

// combined returns for a kernel (2, 2, rows, columns) the sixteen right factors of
// products, each in panels: (pair, panel, row, column of the panel).
at::Tensor combined(const at::Tensor &kernel) {
  const at::Tensor k = kernel.contiguous();
  const int64_t rows = k.size(2), columns = k.size(3), width = level().width, panels = (columns + width - 1) / width;
  at::Tensor out = at::empty({kPairs, panels, rows, width}, k.options());
  const float *from = values(k);
  float *to = out.data_ptr<float>();
  const int64_t size = rows * columns, pair = panels * rows * width;
  for (int64_t p = 0; p < panels; p++)
    for (int64_t r = 0; r < rows; r++)
      level().kinds(from + r * columns + p * width, size, std::min(width, columns - p * width), to + (p * rows + r) * width, pair);
  return out;
}

// taken_apart is the transpose of combined, for the sum (pair, panel, row, column of
// the panel) of the outer products: the kernel (columns, rows, 2, 2).
at::Tensor taken_apart(const at::Tensor &sum, int64_t columns) {
  const int64_t rows = sum.size(2);
  const at::Tensor k = sum.permute({0, 2, 1, 3}).reshape({kKinds, kKinds, rows, -1}).narrow(3, 0, columns);
  const at::Tensor half = k.narrow(0, 1, 3) / 2;
  const at::Tensor a = at::stack({k[0] + half[0] + half[2], half[0] + k[2] - half[2]});  // (2, kinds, rows, columns)
  const auto b = [&](int64_t i) { return a.select(1, i); };
  const at::Tensor sum1 = b(1) / 2, sum3 = b(3) / 2;
  return at::stack({b(0) + sum1 + sum3, sum1 + b(2) - sum3}, 1).permute({3, 2, 0, 1}).contiguous();
}

// Points are those of some maps, whose columns are last in memory if `turned` is set:
// dense layers have the order (channel, row, column). To turn a map while it is in the
// cache costs a fraction of what a pass of its own over memory does.
struct Points {
  const Plan &plan;
  const Maps inner, outer;
  const bool before, turned;
  std::vector<float> map;
  Room rows, copy;

  Points(const Plan &p, bool before, bool turned)
      : plan(p), inner(p.from), outer(inner.bordered()), before(before), turned(turned), map(static_cast<size_t>(outer.size())),
        rows(room(p.rows * inner.c)), copy(room(turned ? inner.size() : 0)) {}

  // of returns the rows of a pair.
  float *of(int pair) { return rows.get() + plan.base[pair] * inner.c; }

  // line returns row i of the map, which has a row and a column of zeros before or after it.
  float *line(int64_t i) { return map.data() + ((i + before) * outer.w + before) * outer.c; }

  void take(const float *x, int64_t images) {
    const int64_t run = inner.w * inner.c;
    std::fill(map.begin(), map.end(), 0.f);
    for (int64_t k = 0; k < images; k++, x += inner.size()) {
      if (turned) level().turn(x, inner.c, inner.pixels(), copy.get());
      const float *from = turned ? copy.get() : x;
      for (int64_t i = 0; i < inner.h; i++) std::memcpy(line(i), from + i * run, static_cast<size_t>(run) * sizeof(float));
      level().take(plan.tiles(k, outer.w), map.data(), inner.c, inner.c, rows.get(), inner.c);
    }
  }

  // take_back writes the gradients of the maps, of those of the points.
  void take_back(int64_t images, float *gx) {
    const int64_t run = inner.w * inner.c;
    for (int64_t k = 0; k < images; k++, gx += inner.size()) {
      std::fill(map.begin(), map.end(), 0.f);
      level().take_back(plan.tiles(k, outer.w), rows.get(), inner.c, inner.c, map.data(), inner.c);
      float *to = turned ? copy.get() : gx;
      for (int64_t i = 0; i < inner.h; i++) std::memcpy(to + i * run, line(i), static_cast<size_t>(run) * sizeof(float));
      if (turned) level().turn(to, inner.pixels(), inner.c, gx);
    }
  }
};

// as_it_is returns maps whose channels or columns are last in memory.
at::Tensor as_it_is(const at::Tensor &x) { return x.is_contiguous(kLast) ? x : x.contiguous(); }

// A Winograd is such a convolution with its gradients.
struct Winograd : torch::autograd::Function<Winograd> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &in, const at::Tensor &weight, const at::Tensor &b, bool before, int64_t then, bool record) {
    const at::Tensor input = as_it_is(in);
    const bool turned = !input.is_contiguous(kLast), flat = then == kFlat, whole = then == kPool || flat;
    const Plan plan(input, weight);
    const Maps from = plan.from, to = plan.to;
    const int64_t shrink = then == kPool ? 2 : 1, h = to.h / shrink, w = to.w / shrink;
    at::Tensor result = flat ? at::empty({to.count, to.size()}, input.options()) : at::empty({to.count, to.c, h, w}, input.options(), kLast);
    const bool indexed = then == kPool && record;
    at::Tensor index = indexed ? at::empty({to.count, h, w, to.c}, input.options().dtype(at::kByte)) : at::Tensor();
    const at::Tensor factors = combined(weight.permute({2, 3, 1, 0})), bias = filled_up(b);
    const int64_t block = plan.block;
    const at::Tensor none = at::zeros({block}, input.options());
    const Segment depth{0, from.c};
    const int64_t size = h * w * to.c;
    const float *px = values(input), *pw = values(factors), *pb = values(bias), *pn = values(none);
    float *py = result.data_ptr<float>();
    uint8_t *pi = indexed ? index.data_ptr<uint8_t>() : nullptr;
    struct Work {
      Points points;
      Room products, full;
    };
    const auto make = [&] { return Work{Points(plan, before, turned), room(plan.rows * block), room(whole ? plan.most * to.size() : 0)}; };
    in_turn(from.count, plan.most, make, [&](Work &work, int64_t first, int64_t last) {
      const int64_t images = last - first;
      work.points.take(px + first * from.size(), images);
      float *out = whole ? work.full.get() : py + first * size;
      for (int64_t p = 0; p < plan.panels; p += 2) {
        const int64_t c = p * level().width, columns = std::min(block, to.c - c);
        for (int q = 0; q < kPairs; q++) {
          if (plan.count[q] == 0) continue;
          const Factor f{work.points.of(q), plan.points_at.data(), images * plan.count[q], &depth, 1};
          level().multiply(f, pw + (q * plan.panels + p) * plan.panel, pn, columns, false, work.products.get() + plan.base[q] * block,
                           plan.products_at.data());
        }
        for (int64_t k = 0; k < images; k++)
          level().give(plan.tiles(k, to.w), work.products.get(), block, pb + c, then == kRelu || flat, columns, out + k * to.size() + c, to.c);
      }
      for (int64_t k = 0; whole && k < images; k++) {
        const float *map = work.full.get() + k * to.size();
        if (flat) {
          level().turn(map, to.pixels(), to.c, py + (first + k) * size);
        } else {
          level().relu_pool(map, {h, w, to.c}, py + (first + k) * size, pi ? pi + (first + k) * size : nullptr);
        }
      }
    });
    if (record) keep(ctx, input, weight, then == kPool ? index : then == kPlain ? at::Tensor() : result, before, then);
    return result;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const Kept kept(ctx);
    const at::Tensor &input = kept.x, &weight = kept.weight, &passed = kept.passed;
    const bool before = kept.before, wanted = kept.wanted, learns = kept.learns;
    const int64_t then = kept.then;
    const bool turned = !input.is_contiguous(kLast), flat = then == kFlat;
    const at::Tensor grad = flat ? grads[0].contiguous() : grads[0].contiguous(kLast);
    const Plan plan(input, weight);
    const Maps from = plan.from, to = plan.to;
    const int64_t block = plan.block, blocks = (to.c + block - 1) / block, parts = parts_of(from.count);
    at::Tensor gw = learns ? at::zeros({parts, kPairs, plan.panels, from.c, level().width}, grad.options()) : at::Tensor();
    at::Tensor gb = at::zeros({parts, to.c}, grad.options());
    at::Tensor gx = wanted ? at::empty_like(input, input.options(), turned ? at::MemoryFormat::Contiguous : kLast) : at::Tensor();
    const at::Tensor factors = wanted ? combined(weight.permute({2, 3, 0, 1})) : at::Tensor();
    const at::Tensor none = at::zeros({from.c + level().width}, grad.options());
    const auto offset = multiples(1, from.c);
    // The products' gradients are in blocks of columns, so that the few that outer reads
    // at a time are next to each other; as left factors of a product their rows have a
    // run in each block.
    const int64_t chunk = plan.rows * block;
    std::vector<Segment> depth;
    for (int64_t b = 0; b < blocks; b++) depth.push_back({b * chunk, std::min(block, to.c - b * block)});
    const int64_t size = grad.numel() / std::max<int64_t>(to.count, 1), product = kPairs * plan.panels * plan.panel;
    const float *px = values(input), *pg = values(grad), *pw = values(factors), *pn = values(none);
    const float *result = then == kRelu || flat ? values(passed) : nullptr;
    const uint8_t *index = then == kPool ? passed.data_ptr<uint8_t>() : nullptr;
    float *pgw = learns ? gw.data_ptr<float>() : nullptr, *pgb = gb.data_ptr<float>(), *pgx = wanted ? gx.data_ptr<float>() : nullptr;
    each(parts, from.count, [&](int64_t part, int64_t first, int64_t last) {
      Points points(plan, before, turned);
      const Room gradients = room(blocks * chunk), full = room(to.size()), passed_on = room(flat ? to.size() : 0);
      for (int64_t i = first; i < last; i += plan.most) {
        const int64_t images = std::min(plan.most, last - i);
        if (learns) points.take(px + i * from.size(), images);
        for (int64_t k = 0; k < images; k++) {
          const float *g = pg + (i + k) * size;
          float *sum = pgb + part * to.c;
          if (index) {
            level().relu_pool_back(g, index + (i + k) * size, {to.h / 2, to.w / 2, to.c}, full.get(), sum);
          } else if (flat) {
            level().turn(g, to.c, to.pixels(), full.get());
            level().turn(result + (i + k) * size, to.c, to.pixels(), passed_on.get());
            level().pass(full.get(), passed_on.get(), to.pixels(), to.c, full.get(), sum);
          } else {
            level().pass(g, result ? result + (i + k) * size : nullptr, to.pixels(), to.c, full.get(), sum);
          }
          for (int64_t b = 0; b < blocks; b++)
            level().give_back(plan.tiles(k, to.w), full.get() + b * block, to.c, depth[static_cast<size_t>(b)].count,
                              gradients.get() + b * chunk, block);
        }
        for (int q = 0; q < kPairs; q++) {
          const int64_t rows = images * plan.count[q];
          if (rows == 0) continue;
          const float *theirs = gradients.get() + plan.base[q] * block;
          const Factor x{points.of(q), plan.points_at.data(), rows, nullptr, 0};
          const Factor g{theirs, plan.products_at.data(), rows, depth.data(), static_cast<int>(blocks)};
          for (int64_t b = 0; learns && b < blocks; b++)
            level().outer(x, offset.data(), from.c, theirs + b * chunk, plan.products_at.data(), depth[static_cast<size_t>(b)].count,
                          pgw + part * product + (q * plan.panels + 2 * b) * plan.panel);
          // The points have done their work and make room for their gradient.
          if (pgx) level().multiply(g, pw + q * factors.stride(0), pn, from.c, false, points.of(q), plan.points_at.data());
        }
        if (pgx) points.take_back(images, pgx + i * from.size());
      }
    });
    return {gx, learns ? taken_apart(gw.sum(0), to.c) : gw, gb.sum(0), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

// A vector of any level ends where some pixel's channels do.
constexpr int64_t kWhole = 16;

bool suits_winograd(const at::Tensor &x, const at::Tensor &w) {
  const int64_t h = x.size(2), columns = x.size(3);
  return h >= 2 && columns >= 2 && h * columns <= kMostPixels && x.size(1) % kWhole == 0 && w.size(0) % kWhole == 0;
}

at::Tensor winograd(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool before, Then then, bool record) {
  return Winograd::apply(x, w, b, before, int64_t{then}, record);
}

}  // namespace nln
