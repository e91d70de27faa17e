// torch_blocks.cc: blocks of layers as one operation each, with gradients.
//
// A network of small images is bound by memory: between two convolutions, a map
// of 28x28x32 was written and read by padding, ReLU and pooling in turn, and
// again for the gradients. Here these are one pass, and the maps at full
// resolution are never made where a block begins or ends at an image.
#include "torch.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "blocks.h"

using namespace nln;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

constexpr auto kLast = at::MemoryFormat::ChannelsLast;

// on_cpu says whether the kernels here can do the work.
bool on_cpu(const at::Tensor &x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

void check_halves(const at::Tensor &x) {
  if (x.dim() != 4) invalid("have " + std::to_string(x.dim()) + " dimensions, want 4");
  if (x.size(2) % 2 || x.size(3) % 2)
    invalid(c10::str("have ", x.size(2), " rows and ", x.size(3), " columns, want even numbers"));
}

// each calls body(first, last) for parts of n images, from several threads.
template <class Body>
void each(int64_t n, Body &&body) {
  at::parallel_for(0, n, 1, std::forward<Body>(body));
}

// reference is what the kernels compute, out of libtorch's operations, for other
// devices.
at::Tensor reference(const at::Tensor &x) { return at::relu(at::max_pool2d(x, 2, 2)); }

// ReluPool is the ReLU of the maxima of 2x2 windows. Maxima first: the result
// and its gradient are the same, and the ReLU has a quarter of the work.
struct ReluPool : torch::autograd::Function<ReluPool> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &in, bool record) {
    const at::Tensor x = in.contiguous(kLast);
    const int64_t n = x.size(0), c = x.size(1), h = x.size(2) / 2, w = x.size(3) / 2;
    at::Tensor y = at::empty({n, c, h, w}, x.options(), kLast);
    at::Tensor index = record ? at::empty({n, h, w, c}, x.options().dtype(at::kByte)) : at::Tensor();
    const float *from = x.data_ptr<float>();
    float *to = y.data_ptr<float>();
    uint8_t *at = record ? index.data_ptr<uint8_t>() : nullptr;
    const int64_t size = h * w * c;
    each(n, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; i++)
        blocks::fastest().relu_pool(from + 4 * i * size, {h, w, c}, to + i * size, at ? at + i * size : nullptr);
    });
    if (record) ctx->save_for_backward({index});
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const at::Tensor index = ctx->get_saved_variables()[0], gy = grads[0].contiguous(kLast);
    const int64_t n = gy.size(0), c = gy.size(1), h = gy.size(2), w = gy.size(3), size = h * w * c;
    at::Tensor gx = at::empty({n, c, 2 * h, 2 * w}, gy.options(), kLast);
    const float *from = gy.data_ptr<float>();
    const uint8_t *at = index.data_ptr<uint8_t>();
    float *to = gx.data_ptr<float>();
    each(n, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; i++)
        blocks::fastest().relu_pool_back(from + i * size, at + i * size, {h, w, c}, to + 4 * i * size);
    });
    return {gx, at::Tensor()};
  }
};

// lanes returns the number of filters rounded up to what the kernels take.
int64_t lanes(int64_t filters) { return (filters + blocks::kLanes - 1) / blocks::kLanes * blocks::kLanes; }

// packed lays a kernel (filters, planes, 2, 2) out as the kernels of blocks.h
// want it, (planes, 2, 2, lanes), or a bias (filters) as (lanes).
at::Tensor packed(const at::Tensor &w) {
  at::Tensor p = at::zeros({w.numel() / w.size(0), lanes(w.size(0))}, w.options());
  p.narrow(1, 0, w.size(0)).copy_(w.reshape({w.size(0), -1}).t());
  return p;
}

// ConvPool is ReluPool of the 2x2 convolution of images of few channels, with
// zeros after the last row and column.
struct ConvPool : torch::autograd::Function<ConvPool> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &images, const at::Tensor &weight, const at::Tensor &bias, bool record) {
    const at::Tensor x = at::constant_pad_nd(images.contiguous(), {0, 1, 0, 1}, 0).contiguous();
    const int64_t n = x.size(0), f = weight.size(0), h = images.size(2) / 2, w = images.size(3) / 2;
    const int planes = static_cast<int>(x.size(1));
    const at::Tensor wp = packed(weight), bp = packed(bias);
    at::Tensor y = at::empty({n, f, h, w}, x.options(), kLast);
    at::Tensor index = record ? at::empty({n, h, w, f}, x.options().dtype(at::kByte)) : at::Tensor();
    const float *from = x.data_ptr<float>(), *pw = wp.data_ptr<float>(), *pb = bp.data_ptr<float>();
    float *to = y.data_ptr<float>();
    uint8_t *at = record ? index.data_ptr<uint8_t>() : nullptr;
    const int64_t in = x.numel() / std::max<int64_t>(n, 1), size = h * w * f;
    each(n, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; i++)
        blocks::fastest().conv_pool(from + i * in, planes, pw, pb, {h, w, f}, to + i * size, at ? at + i * size : nullptr);
    });
    if (record) {
      ctx->save_for_backward({x, wp, index});
      ctx->saved_data["images"] = images.requires_grad();
    }
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &wp = saved[1], &index = saved[2];
    const at::Tensor gy = grads[0].contiguous(kLast);
    const int64_t n = gy.size(0), f = gy.size(1), h = gy.size(2), w = gy.size(3), size = h * w * f;
    const int planes = static_cast<int>(x.size(1));
    const bool wanted = ctx->saved_data["images"].toBool();
    // Sums of a fixed number of parts, so that a result depends on the number of
    // threads and not on which of them was first.
    const int64_t parts = std::min<int64_t>(at::get_num_threads(), std::max<int64_t>(n, 1));
    at::Tensor gw = at::zeros({parts, planes * 4, lanes(f)}, gy.options());
    at::Tensor gb = at::zeros({parts, lanes(f)}, gy.options());
    at::Tensor gx = wanted ? at::zeros_like(x) : at::Tensor();
    const float *from = gy.data_ptr<float>(), *px = x.data_ptr<float>(), *pw = wp.data_ptr<float>();
    const uint8_t *at = index.data_ptr<uint8_t>();
    float *to = gw.data_ptr<float>(), *tob = gb.data_ptr<float>(), *tox = wanted ? gx.data_ptr<float>() : nullptr;
    const int64_t in = n > 0 ? x.numel() / n : 0;
    each(parts, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; p++)
        for (int64_t i = p * n / parts; i < (p + 1) * n / parts; i++) {
          blocks::fastest().conv_pool_back(px + i * in, planes, from + i * size, at + i * size, {h, w, f},
                                           to + p * planes * 4 * lanes(f), tob + p * lanes(f));
          if (tox) blocks::fastest().conv_pool_back_image(pw, planes, from + i * size, at + i * size, {h, w, f}, tox + i * in);
        }
    });
    gw = gw.sum(0).narrow(1, 0, f).t().reshape({f, planes, 2, 2}).contiguous();
    gb = gb.sum(0).narrow(0, 0, f).contiguous();
    if (wanted) gx = gx.narrow(2, 0, 2 * h).narrow(3, 0, 2 * w);
    return {gx, gw, gb, at::Tensor()};
  }
};

bool records(const at::Tensor &x) { return at::GradMode::is_enabled() && x.requires_grad(); }

// phases turns a 2x2 kernel over a map that is twice as large into four over the
// map itself, one for each place (a, b) in the 2x2 copies of a value. The copy at
// a = 0 sees the row before and its own; that at a = 1 sees its own twice.
at::Tensor phases(const at::Tensor &w) {
  const float one[2][2][2] = {{{1, 0}, {0, 1}}, {{0, 0}, {1, 1}}};  // [a][row of the small map][row of the kernel]
  float t[4][16];
  for (int u = 0; u < 2; u++)
    for (int v = 0; v < 2; v++)
      for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++)
          for (int r = 0; r < 2; r++)
            for (int s = 0; s < 2; s++) t[2 * u + v][8 * a + 4 * b + 2 * r + s] = one[a][r][u] * one[b][s][v];
  const at::Tensor fold = at::from_blob(t, {4, 16}).clone().to(w.device());
  const int64_t o = w.size(0), c = w.size(1);
  return at::matmul(w.reshape({o * c, 4}), fold).reshape({o, c, 2, 2, 2, 2}).permute({2, 3, 0, 1, 4, 5}).reshape({4 * o, c, 2, 2});
}

}  // namespace

nln_status nln_relu_pool(nln_tensor *x, nln_tensor **out) {
  return make("relu and pool", out, [&] {
    check_halves(x->t);
    return on_cpu(x->t) ? ReluPool::apply(x->t, records(x->t)) : reference(x->t);
  });
}

nln_status nln_conv_pool(nln_tensor *x, nln_tensor *w, nln_tensor *b, nln_tensor **out) {
  return make("conv2d and pool", out, [&] {
    check_halves(x->t);
    if (w->t.dim() != 4 || w->t.size(1) != x->t.size(1) || w->t.size(2) != 2 || w->t.size(3) != 2 || b->t.numel() != w->t.size(0))
      invalid(c10::str("have a kernel of ", w->t.sizes(), " and ", b->t.numel(), " biases, want (O, ", x->t.size(1), ", 2, 2) and O"));
    if (on_cpu(x->t) && x->t.size(1) <= blocks::kMaxChannels)
      return ConvPool::apply(x->t, w->t, b->t, records(x->t) || records(w->t) || records(b->t));
    const at::Tensor y = at::conv2d(at::constant_pad_nd(x->t, {0, 1, 0, 1}, 0), w->t.to(w->t.options(), false, true, kLast), b->t);
    return on_cpu(y) ? ReluPool::apply(y, records(y)) : reference(y);
  });
}

nln_status nln_up_conv(nln_tensor *x, nln_tensor *w, nln_tensor *b, int32_t relu, nln_tensor **out) {
  return make("upsample and conv2d", out, [&] {
    if (x->t.dim() != 4 || w->t.dim() != 4 || w->t.size(1) != x->t.size(1) || w->t.size(2) != 2 || w->t.size(3) != 2)
      invalid(c10::str("have shape ", x->t.sizes(), " and a kernel of ", w->t.sizes(), ", want (N, C, H, W) and (O, C, 2, 2)"));
    const int64_t n = x->t.size(0), o = w->t.size(0), h = x->t.size(2), k = x->t.size(3);
    const at::Tensor kernel = phases(w->t);
    at::Tensor y = at::conv2d(at::constant_pad_nd(x->t, {1, 0, 1, 0}, 0), kernel.to(kernel.options(), false, true, kLast), b->t.repeat({4}));
    if (relu) y = at::relu_(y);
    // (N, a b O, h, k) to (N, O, 2h, 2k), with the channels last in memory.
    return y.permute({0, 2, 3, 1}).reshape({n, h, k, 2, 2, o}).permute({0, 1, 3, 2, 4, 5}).reshape({n, 2 * h, 2 * k, o}).permute({0, 3, 1, 2});
  });
}
