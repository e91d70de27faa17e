// torch_blocks.cc: blocks of layers as one operation each, with gradients.
//
// A network of small images is bound by memory: between two convolutions, a map
// of 28x28x32 was written and read by padding, ReLU and pooling in turn, and
// again for the gradients. Here these are one pass, and the maps at full
// resolution are never made where a block begins or ends at an image.
#include "torch.h"

#include "maps.h"
#include "torch_conv.h"

using namespace nln;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// on_cpu says whether the kernels here can do the work.
bool on_cpu(const at::Tensor &x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

void check_halves(const at::Tensor &x) {
  if (x.dim() != 4) invalid("have " + std::to_string(x.dim()) + " dimensions, want 4");
  if (x.size(2) % 2 || x.size(3) % 2)
    invalid(c10::str("have ", x.size(2), " rows and ", x.size(3), " columns, want even numbers"));
}

// for_images calls body(i) for each of n images, from several threads.
template <class Body>
void for_images(int64_t n, Body &&body) {
  constexpr int64_t kGroup = 8;
  in_turn(n, kGroup, [] { return 0; }, [&](int, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) body(i);
  });
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
    for_images(n, [&](int64_t i) {
      level().relu_pool(from + 4 * i * size, {h, w, c}, to + i * size, at ? at + i * size : nullptr);
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
    for_images(n, [&](int64_t i) {
      level().relu_pool_back(from + i * size, at + i * size, {h, w, c}, to + 4 * i * size, nullptr);
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
    for_images(n, [&](int64_t i) {
      level().conv_pool(from + i * in, planes, pw, pb, {h, w, f}, to + i * size, at ? at + i * size : nullptr);
    });
    if (record) ctx->save_for_backward({x, wp, index});
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &wp = saved[1], &index = saved[2];
    const at::Tensor gy = grads[0].contiguous(kLast);
    const int64_t n = gy.size(0), f = gy.size(1), h = gy.size(2), w = gy.size(3), size = h * w * f;
    const int planes = static_cast<int>(x.size(1));
    const bool wanted = ctx->needs_input_grad(0), learns = ctx->needs_input_grad(1) || ctx->needs_input_grad(2);
    const int64_t parts = parts_of(n);
    at::Tensor gw = at::zeros({parts, planes * 4, lanes(f)}, gy.options());
    at::Tensor gb = at::zeros({parts, lanes(f)}, gy.options());
    at::Tensor gx = wanted ? at::zeros_like(x) : at::Tensor();
    const float *from = gy.data_ptr<float>(), *px = x.data_ptr<float>(), *pw = wp.data_ptr<float>();
    const uint8_t *at = index.data_ptr<uint8_t>();
    float *to = gw.data_ptr<float>(), *tob = gb.data_ptr<float>(), *tox = wanted ? gx.data_ptr<float>() : nullptr;
    const int64_t in = n > 0 ? x.numel() / n : 0;
    each(parts, n, [&](int64_t part, int64_t first, int64_t last) {
      for (int64_t i = first; i < last; i++) {
        if (learns)
          level().conv_pool_back(px + i * in, planes, from + i * size, at + i * size, {h, w, f}, to + part * planes * 4 * lanes(f),
                                 tob + part * lanes(f));
        if (tox) level().conv_pool_back_image(pw, planes, from + i * size, at + i * size, {h, w, f}, tox + i * in);
      }
    });
    gw = gw.sum(0).narrow(1, 0, f).t().reshape({f, planes, 2, 2}).contiguous();
    gb = gb.sum(0).narrow(0, 0, f).contiguous();
    if (wanted) gx = gx.narrow(2, 0, 2 * h).narrow(3, 0, 2 * w);
    return {gx, gw, gb, at::Tensor()};
  }
};

void check_kernel(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b) {
  if (x.dim() != 4 || w.dim() != 4 || w.size(1) != x.size(1) || w.size(2) != 2 || w.size(3) != 2 || w.size(0) < 1 || b.numel() != w.size(0))
    invalid(c10::str("have shape ", x.sizes(), ", a kernel of ", w.sizes(), " and ", b.numel(), " biases, want (N, C, H, W), (O, C, 2, 2) and O"));
}

// bordered is what conv2x2 computes, out of libtorch's operations.
at::Tensor bordered(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, bool before) {
  const int64_t first = before, last = !before;
  return convolve(at::constant_pad_nd(x, {first, last, first, last}, 0), w, b, 1, 0);
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
    check_kernel(x->t, w->t, b->t);
    if (on_cpu(x->t) && !bfloat16() && x->t.size(1) <= blocks::kMaxChannels)
      return ConvPool::apply(x->t, w->t, b->t, records(x->t) || records(w->t) || records(b->t));
    return can_convolve(x->t, w->t, 1) ? conv2x2_pool(x->t, w->t, b->t) : reference(bordered(x->t, w->t, b->t, false));
  });
}

nln_status nln_conv2x2(nln_tensor *x, nln_tensor *w, nln_tensor *b, int32_t before, int32_t relu, nln_tensor **out) {
  return make("conv2d", out, [&] {
    check_kernel(x->t, w->t, b->t);
    if (can_convolve(x->t, w->t, 1)) return conv2x2(x->t, w->t, b->t, before, relu);
    const at::Tensor y = bordered(x->t, w->t, b->t, before);
    return relu ? at::relu(y) : y;
  });
}

nln_status nln_conv2x2_rows(nln_tensor *x, nln_tensor *w, nln_tensor *b, nln_tensor **out) {
  return make("conv2d to rows", out, [&] {
    check_kernel(x->t, w->t, b->t);
    if (can_convolve(x->t, w->t, 1)) return conv2x2_rows(x->t, w->t, b->t);
    return at::relu(bordered(x->t, w->t, b->t, false)).flatten(1);
  });
}

nln_status nln_up_conv(nln_tensor *x, nln_tensor *w, nln_tensor *b, int32_t relu, nln_tensor **out) {
  return make("upsample and conv2d", out, [&] {
    check_kernel(x->t, w->t, b->t);
    if (can_convolve(x->t, w->t, 2)) return up_conv2x2(x->t, w->t, b->t, relu);
    const at::Tensor y = bordered(at::upsample_nearest2d(x->t, {2 * x->t.size(2), 2 * x->t.size(3)}), w->t, b->t, true);
    return relu ? at::relu(y) : y;
  });
}
