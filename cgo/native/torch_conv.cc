// torch_conv.cc: 2x2 convolutions of maps with many channels, as products of
// blocks.h, with gradients. Most go to torch_winograd.cc, which takes multiples of 16
// channels; those of repeated pixels, and the rest, are made here.
//
// With the channels last in memory, the values of a map under a row of a kernel
// are one run. A convolution is then a product of a matrix that is never made,
// whose rows are two runs each, and so are its gradients: that of the map is the
// convolution of the result's gradient with the turned kernel, that of the
// kernel a product of the same runs with the result's gradient. A thread takes a
// few maps at a time, so that what it reads stays in its cache, and copies them
// to where zeros stand around them.
#include "torch_conv.h"

#include <cstring>
#include <limits>
#include <vector>

#include "maps.h"
#include "torch_winograd.h"

namespace nln {

namespace {

using blocks::Factor;
using blocks::Segment;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// panels lays a matrix out as the right factor of a product.
at::Tensor panels(const at::Tensor &m) {
  const int64_t width = level().width, count = (m.size(1) + width - 1) / width;
  const at::Tensor full = at::constant_pad_nd(m, {0, count * width - m.size(1)}, 0);
  return full.reshape({m.size(0), count, width}).permute({1, 0, 2}).contiguous();
}

// no_panels returns zeros for the sum of `parts` products of so many rows and columns.
at::Tensor no_panels(int64_t parts, int64_t rows, int64_t columns, const at::Tensor &like) {
  const int64_t width = level().width;
  return at::zeros({parts, (columns + width - 1) / width, rows, width}, like.options());
}

// matrix adds parts up and undoes panels.
at::Tensor matrix(const at::Tensor &parts, int64_t columns) {
  const at::Tensor p = parts.sum(0);
  return p.permute({1, 0, 2}).reshape({p.size(1), -1}).narrow(1, 0, columns);
}

// places returns where the pixels of `images` maps begin, every `step`th row and
// column of them from the given ones on.
std::vector<int32_t> places(const Maps &m, int64_t images, int64_t step, int64_t row, int64_t column, int64_t h, int64_t w) {
  std::vector<int32_t> at;
  at.reserve(static_cast<size_t>(images * h * w));
  for (int64_t n = 0; n < images; n++)
    for (int64_t i = 0; i < h; i++)
      for (int64_t j = 0; j < w; j++)
        at.push_back(static_cast<int32_t>(((n * m.h + step * i + row) * m.w + step * j + column) * m.c));
  return at;
}

std::vector<int32_t> places(const Maps &m, int64_t images) { return places(m, images, 1, 0, 0, m.h, m.w); }

// offsets returns where the values of segments are.
std::vector<int32_t> offsets(const std::vector<Segment> &segments) {
  std::vector<int32_t> at;
  for (const Segment &s : segments)
    for (int64_t k = 0; k < s.count; k++) at.push_back(static_cast<int32_t>(s.offset + k));
  return at;
}

// window returns the runs of a square of rows and columns of bordered maps.
std::vector<Segment> window(const Maps &m, int64_t side) {
  std::vector<Segment> s;
  for (int64_t r = 0; r < side; r++) s.push_back({r * m.w * m.c, side * m.c});
  return s;
}

// Each row of a product is a pixel, of as many maps as make this many: enough
// for whole tiles, few enough for a processor's cache.
constexpr int64_t kRows = 200;

int64_t images_at_once(const Maps &m) { return std::max<int64_t>(1, std::min<int64_t>(m.count, kRows / m.pixels())); }

// A Bordered is room for some maps with a row and a column of zeros before or
// after each, and a bit more, which products may read.
struct Bordered {
  Maps inner, outer;
  bool before;
  std::vector<float> values;

  Bordered(const Maps &m, int64_t images, bool before)
      : inner(m), outer(m.bordered()), before(before), values(static_cast<size_t>(images * outer.size() + level().width)) {}

  float *row(int64_t image, int64_t i) {
    return values.data() + ((image * outer.h + i + before) * outer.w + before) * outer.c;
  }

  // take takes some maps, the first of them as map `at`.
  void take(const float *x, int64_t at, int64_t images) {
    const int64_t run = inner.w * inner.c;
    for (int64_t n = at; n < at + images; n++)
      for (int64_t i = 0; i < inner.h; i++, x += run) std::memcpy(row(n, i), x, static_cast<size_t>(run) * sizeof(float));
  }

  // gradient takes gy, as ReLU with the result y lets it pass unless y is NULL,
  // and adds it to sum by channel.
  void gradient(const float *gy, const float *y, int64_t images, float *sum) {
    const int64_t run = inner.w * inner.c;
    for (int64_t n = 0; n < images; n++)
      for (int64_t i = 0; i < inner.h; i++, gy += run) {
        level().pass(gy, y, inner.w, inner.c, row(n, i), sum);
        if (y) y += run;
      }
  }
};

// A Filter is what the convolutions and their gradients need of a kernel.
struct Filter {
  at::Tensor forward, bias;  // (4C, O) in panels, and O values

  Filter(const at::Tensor &w, const at::Tensor &b) : forward(panels(w.permute({2, 3, 1, 0}).reshape({-1, w.size(0)}))), bias(filled_up(b)) {}

  // turned returns the right factor of the gradient of the maps, (4O, C).
  static at::Tensor turned(const at::Tensor &w) { return panels(w.flip({2, 3}).permute({2, 3, 0, 1}).reshape({-1, w.size(1)})); }

  // of returns a kernel out of the product (4C, O) of its gradient.
  static at::Tensor of(const at::Tensor &product, int64_t channels) {
    return product.reshape({2, 2, channels, -1}).permute({3, 2, 0, 1}).contiguous();
  }
};

// Conv is a 2x2 convolution that keeps rows and columns, with zeros before the
// first or after the last ones.
struct Conv : torch::autograd::Function<Conv> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &in, const at::Tensor &weight, const at::Tensor &b, bool before, int64_t then, bool record) {
    const at::Tensor x = in.contiguous(kLast);
    const Maps from = maps(x), to{from.count, from.h, from.w, weight.size(0)};
    const int64_t shrink = then == kPool ? 2 : 1, h = to.h / shrink, w = to.w / shrink;
    at::Tensor y = at::empty({to.count, to.c, h, w}, x.options(), kLast);
    const bool indexed = then == kPool && record;
    at::Tensor index = indexed ? at::empty({to.count, h, w, to.c}, x.options().dtype(at::kByte)) : at::Tensor();
    const Filter filter(weight, b);
    const int64_t most = images_at_once(from), size = h * w * to.c;
    const auto at = places(from.bordered(), most, 1, 0, 0, from.h, from.w), place = places(to, most);
    const auto segments = window(from.bordered(), 2);
    const float *px = values(x), *pw = values(filter.forward), *pb = values(filter.bias);
    float *py = y.data_ptr<float>();
    uint8_t *pi = indexed ? index.data_ptr<uint8_t>() : nullptr;
    const auto make = [&] {
      return std::make_pair(Bordered(from, most, before), std::vector<float>(then == kPool ? static_cast<size_t>(most * to.size()) : 0));
    };
    in_turn(from.count, most, make, [&](auto &work, int64_t first, int64_t last) {
      auto &[bordered, full] = work;
      const int64_t images = last - first;
      bordered.take(px + first * from.size(), 0, images);
      const Factor f{bordered.values.data(), at.data(), images * from.pixels(), segments.data(), 2};
      if (then != kPool) return level().multiply(f, pw, pb, to.c, then == kRelu, py + first * size, place.data());
      level().multiply(f, pw, pb, to.c, false, full.data(), place.data());
      for (int64_t k = 0; k < images; k++)
        level().relu_pool(full.data() + k * to.size(), {h, w, to.c}, py + (first + k) * size, pi ? pi + (first + k) * size : nullptr);
    });
    if (record) keep(ctx, x, weight, then == kPool ? index : then == kRelu ? y : at::Tensor(), before, then);
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const Kept kept(ctx);
    const at::Tensor &x = kept.x, &weight = kept.weight, &passed = kept.passed;
    const at::Tensor gy = grads[0].contiguous(kLast);
    const bool before = kept.before, wanted = kept.wanted, learns = kept.learns;
    const int64_t then = kept.then;
    const Maps from = maps(x), to{from.count, from.h, from.w, weight.size(0)};
    const int64_t parts = parts_of(from.count), most = images_at_once(from);
    at::Tensor gw = no_panels(parts, 4 * from.c, to.c, gy), gb = at::zeros({parts, to.c}, gy.options());
    at::Tensor gx = wanted ? at::empty_like(x, x.options(), kLast) : at::Tensor();
    const at::Tensor turned = Filter::turned(weight), none = at::zeros({from.c + level().width}, gy.options());
    const auto forward = window(from.bordered(), 2), back = window(to.bordered(), 2);
    const auto at = places(from.bordered(), most, 1, 0, 0, from.h, from.w);
    const auto back_at = places(to.bordered(), most, 1, 0, 0, to.h, to.w);
    const auto gradient_at = places(to.bordered(), most, 1, !before, !before, to.h, to.w);
    const auto place = places(from, most), offset = offsets(forward);
    const float *px = values(x), *pg = values(gy), *pw = values(turned), *pn = values(none);
    const float *result = then == kRelu ? values(passed) : nullptr;
    const uint8_t *index = then == kPool ? passed.data_ptr<uint8_t>() : nullptr;
    float *pgw = gw.data_ptr<float>(), *pgb = gb.data_ptr<float>(), *pgx = wanted ? gx.data_ptr<float>() : nullptr;
    const int64_t size = gy.numel() / std::max<int64_t>(to.count, 1), product = gw.numel() / parts;
    each(parts, from.count, [&](int64_t part, int64_t first, int64_t last) {
      // The result's gradient has its zeros on the other side than the maps.
      Bordered bordered(from, most, before), gradient(to, most, !before);
      std::vector<float> full(index ? static_cast<size_t>(to.size()) : 0);
      for (int64_t i = first; i < last; i += most) {
        const int64_t images = std::min(most, last - i), rows = images * from.pixels();
        if (learns) bordered.take(px + i * from.size(), 0, images);
        if (index) {
          for (int64_t k = 0; k < images; k++) {
            level().relu_pool_back(pg + (i + k) * size, index + (i + k) * size, {to.h / 2, to.w / 2, to.c}, full.data(), pgb + part * to.c);
            gradient.take(full.data(), k, 1);
          }
        } else {
          gradient.gradient(pg + i * size, result ? result + i * size : nullptr, images, pgb + part * to.c);
        }
        if (pgx) {
          const Factor f{gradient.values.data(), back_at.data(), rows, back.data(), 2};
          level().multiply(f, pw, pn, from.c, false, pgx + i * from.size(), place.data());
        }
        const Factor f{bordered.values.data(), at.data(), rows, forward.data(), 2};
        if (learns) level().outer(f, offset.data(), 4 * from.c, gradient.values.data(), gradient_at.data(), to.c, pgw + part * product);
      }
    });
    return {gx, Filter::of(matrix(gw, to.c), from.c), gb.sum(0), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// A Phase is a place (a, b) in the 2x2 copies that repetition makes of a value.
// The copy at 0 sees the row or column before and its own, that at 1 its own
// twice, so that two values of the kernel are added up.
struct Phase {
  int64_t a, b;
  std::vector<Segment> segments;
  at::Tensor factor;  // in panels

  Phase(const at::Tensor &w, const Maps &bordered, int64_t a, int64_t b) : a(a), b(b) {
    at::Tensor k = w.permute({2, 3, 1, 0});  // (row, column, C, O)
    if (a) k = k.sum(0, true);
    if (b) k = k.sum(1, true);
    factor = panels(k.reshape({-1, w.size(0)}));
    for (int64_t r = a; r < 2; r++) segments.push_back({(r * bordered.w + b) * bordered.c, (2 - b) * bordered.c});
  }
};

// together returns the right factor of all four phases at once, (4C, 4O): where a
// phase does not look at a value there are zeros, so that an infinite one makes NaN of
// its neighbours too. For few filters that is less work than four products whose
// panels are mostly empty.
at::Tensor together(const at::Tensor &w) {
  const at::Tensor k = w.permute({2, 3, 1, 0}), none = at::zeros_like(k[0]);  // (row, column, C, O)
  const at::Tensor rows = at::stack({k, at::stack({none, k[0] + k[1]})});     // (a, row, column, C, O)
  const at::Tensor first = rows.select(2, 0), second = rows.select(2, 1);
  const at::Tensor all = at::stack({rows, at::stack({at::zeros_like(first), first + second}, 2)}, 1);
  return panels(all.permute({2, 3, 4, 0, 1, 5}).reshape({-1, 4 * w.size(0)}));
}

// spread returns the kernel (3, 3, O, C) with which the gradient of the maps is
// a convolution of that of the result: a value is seen from its own row of
// copies, from the next, by both rows of the kernel, and from the row after.
at::Tensor spread(const at::Tensor &w) {
  const at::Tensor k = w.permute({2, 3, 0, 1}), rows = at::stack({k[1], k[0] + k[1], k[0]});
  const at::Tensor first = rows.select(1, 0), second = rows.select(1, 1);
  return at::stack({second, first + second, first}, 1);
}

// gathered is the transpose of spread: the kernel (O, C, 2, 2).
at::Tensor gathered(const at::Tensor &k) {
  const at::Tensor rows = at::stack({k[1] + k[2], k[0] + k[1]});
  const at::Tensor first = rows.select(1, 0), second = rows.select(1, 1), third = rows.select(1, 2);
  return at::stack({second + third, first + second}, 1).permute({2, 3, 0, 1}).contiguous();
}

// spread_out gives rows of pixels, each of which is two pixels of c/2 channels of a row
// and the two below, the shape of a map.
void spread_out(const float *x, int64_t rows, int64_t columns, int64_t c, float *y) {
  const size_t size = static_cast<size_t>(c) * sizeof(float);
  for (int64_t i = 0; i < rows; i++, y += 2 * columns * c)
    for (int64_t j = 0; j < columns; j++, x += 2 * c) {
      std::memcpy(y + j * c, x, size);
      std::memcpy(y + (columns + j) * c, x + c, size);
    }
}

// UpConv repeats rows and columns and is a convolution with zeros before. The
// repeated maps are never made.
struct UpConv : torch::autograd::Function<UpConv> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &in, const at::Tensor &weight, const at::Tensor &b, bool relu, bool record) {
    const at::Tensor x = in.contiguous(kLast);
    const Maps from = maps(x), to{from.count, 2 * from.h, 2 * from.w, weight.size(0)}, bordered_maps = from.bordered();
    at::Tensor y = at::empty({to.count, to.c, to.h, to.w}, x.options(), kLast);
    const at::Tensor bias = filled_up(b);
    const int64_t most = images_at_once(from);
    const auto at = places(bordered_maps, most, 1, 0, 0, from.h, from.w);
    const int64_t width = level().width, panels_at_once = (4 * to.c + width - 1) / width, panels_of_one = (to.c + width - 1) / width;
    const bool at_once = 4 * panels_at_once < 9 * panels_of_one;
    std::vector<Phase> phases;
    std::vector<std::vector<int32_t>> place;
    for (int64_t a = 0; !at_once && a < 2; a++)
      for (int64_t c = 0; c < 2; c++) {
        phases.emplace_back(weight, bordered_maps, a, c);
        place.push_back(places(to, most, 2, a, c, from.h, from.w));
      }
    const at::Tensor all = at_once ? together(weight) : at::Tensor(), biases = at_once ? filled_up(b.repeat({4})) : at::Tensor();
    const auto window_at = window(bordered_maps, 2);
    const auto rows = at_once ? places({most, from.h, from.w, 4 * to.c}, most) : std::vector<int32_t>();
    const float *px = values(x), *pb = values(bias), *pw = values(all), *pbiases = values(biases);
    float *py = y.data_ptr<float>();
    const auto make = [&] {
      return std::make_pair(Bordered(from, most, true), std::vector<float>(at_once ? static_cast<size_t>(most * from.pixels() * 4 * to.c) : 0));
    };
    in_turn(from.count, most, make, [&](auto &work, int64_t first, int64_t last) {
      auto &[bordered, four] = work;
      const int64_t images = last - first;
      float *out = py + first * to.size();
      bordered.take(px + first * from.size(), 0, images);
      for (size_t p = 0; p < phases.size(); p++) {
        const auto &s = phases[p].segments;
        const Factor f{bordered.values.data(), at.data(), images * from.pixels(), s.data(), static_cast<int>(s.size())};
        level().multiply(f, values(phases[p].factor), pb, to.c, relu, out, place[p].data());
      }
      if (at_once) {
        const Factor f{bordered.values.data(), at.data(), images * from.pixels(), window_at.data(), 2};
        level().multiply(f, pw, pbiases, 4 * to.c, relu, four.data(), rows.data());
        spread_out(four.data(), images * from.h, from.w, 2 * to.c, out);
      }
    });
    if (record) {
      ctx->save_for_backward({x, weight, relu ? y : at::Tensor()});
    }
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &passed = saved[2];
    const at::Tensor gy = grads[0].contiguous(kLast);
    const bool wanted = ctx->needs_input_grad(0), learns = ctx->needs_input_grad(1) || ctx->needs_input_grad(2);
    const Maps from = maps(x), to{from.count, 2 * from.h, 2 * from.w, weight.size(0)};
    const int64_t parts = parts_of(from.count), most = images_at_once(from);
    at::Tensor gw = no_panels(parts, 9 * to.c, from.c, gy), gb = at::zeros({parts, to.c}, gy.options());
    at::Tensor gx = wanted ? at::empty_like(x, x.options(), kLast) : at::Tensor();
    const at::Tensor factor = panels(spread(weight).reshape({-1, from.c})), none = at::zeros({from.c + level().width}, gy.options());
    const auto segments = window(to.bordered(), 3);
    const auto at = places(to.bordered(), most, 2, 0, 0, from.h, from.w), place = places(from, most), offset = offsets(segments);
    const float *px = values(x), *pg = values(gy), *result = values(passed), *pw = values(factor), *pn = values(none);
    float *pgw = gw.data_ptr<float>(), *pgb = gb.data_ptr<float>(), *pgx = wanted ? gx.data_ptr<float>() : nullptr;
    const int64_t product = gw.numel() / parts;
    each(parts, from.count, [&](int64_t part, int64_t first, int64_t last) {
      Bordered gradient(to, most, false);
      // outer reads whole panels, which may go beyond the last map.
      const bool whole = from.c % level().width == 0;
      std::vector<float> copy(whole ? 0 : static_cast<size_t>(most * from.size() + level().width));
      for (int64_t i = first; i < last; i += most) {
        const int64_t images = std::min(most, last - i);
        gradient.gradient(pg + i * to.size(), result ? result + i * to.size() : nullptr, images, pgb + part * to.c);
        const Factor f{gradient.values.data(), at.data(), images * from.pixels(), segments.data(), 3};
        if (pgx) level().multiply(f, pw, pn, from.c, false, pgx + i * from.size(), place.data());
        if (!learns) continue;
        if (!whole) std::memcpy(copy.data(), px + i * from.size(), static_cast<size_t>(images * from.size()) * sizeof(float));
        level().outer(f, offset.data(), 9 * to.c, whole ? px + i * from.size() : copy.data(), place.data(), from.c, pgw + part * product);
      }
    });
    return {gx, gathered(matrix(gw, from.c).reshape({3, 3, to.c, from.c})), gb.sum(0), at::Tensor(), at::Tensor()};
  }
};

// fits says whether places in some maps at a time are 32-bit numbers.
bool fits(const at::Tensor &x, int64_t filters, int64_t scale) {
  const double area = (scale * x.size(2) + 1.0) * (scale * x.size(3) + 1.0);
  // A thread takes several small maps at a time, whose points are up to 9/4 of their pixels.
  return std::max(4 * area, 2304.) * std::max(x.size(1), filters) < std::numeric_limits<int32_t>::max();
}

}  // namespace

bool can_convolve(const at::Tensor &x, const at::Tensor &w, int64_t scale) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat && !bfloat16() && x.numel() > 0 && w.numel() > 0 && fits(x, w.size(0), scale);
}

namespace {

at::Tensor conv(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool before, Then then) {
  const bool record = records(x) || records(w) || records(b);
  return suits_winograd(x, w) ? winograd(x, w, b, before, then, record) : Conv::apply(x, w, b, before, int64_t{then}, record);
}

}  // namespace

at::Tensor conv2x2(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool before, bool relu) {
  return conv(x, w, b, before, relu ? kRelu : kPlain);
}

at::Tensor conv2x2_rows(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b) {
  return suits_winograd(x, w) ? conv(x, w, b, false, kFlat) : conv(x, w, b, false, kRelu).flatten(1);
}

at::Tensor conv2x2_pool(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b) { return conv(x, w, b, false, kPool); }

at::Tensor up_conv2x2(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool relu) {
  return UpConv::apply(x, w, b, relu, records(x) || records(w) || records(b));
}

}  // namespace nln
