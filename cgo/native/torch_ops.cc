// torch_ops.cc: operations on tensors. libtorch records the gradient graph by
// itself where an argument requires a gradient.
#include "torch.h"

using namespace nln;

namespace {

// channels_last puts a kernel into the layout in which oneDNN computes
// convolutions faster; the result takes that layout over, and so do the layers
// after it. contiguous() would do nothing for kernels over one channel, whose two
// layouts look alike, and leave the rest of the network in the slow one.
at::Tensor channels_last(const at::Tensor &w) {
  return w.to(w.options(), /*non_blocking=*/false, /*copy=*/true, at::MemoryFormat::ChannelsLast);
}

// half rounds the factors of a product where the precision asks for it.
at::Tensor half(const at::Tensor &t) { return t.defined() ? t.to(at::kBFloat16) : t; }

}  // namespace

at::Tensor nln::convolve(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, int64_t stride, int64_t padding) {
  if (bfloat16()) return at::conv2d(half(x), channels_last(half(w)), half(b), stride, padding).to(at::kFloat);
  return at::conv2d(x, x.device().is_cpu() ? channels_last(w) : w, b, stride, padding);
}

at::Tensor nln::linear(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b) {
  return bfloat16() ? at::linear(half(x), half(w), half(b)).to(at::kFloat) : at::linear(x, w, b);
}

nln_status nln_add(nln_tensor *a, nln_tensor *b, nln_tensor **out) {
  return make("add", out, [&] { return at::add(a->t, b->t); });
}
nln_status nln_sub(nln_tensor *a, nln_tensor *b, nln_tensor **out) {
  return make("sub", out, [&] { return at::sub(a->t, b->t); });
}
nln_status nln_mul(nln_tensor *a, nln_tensor *b, nln_tensor **out) {
  return make("mul", out, [&] { return at::mul(a->t, b->t); });
}
nln_status nln_div(nln_tensor *a, nln_tensor *b, nln_tensor **out) {
  return make("div", out, [&] { return at::div(a->t, b->t); });
}
nln_status nln_affine(nln_tensor *x, double scale, double shift, nln_tensor **out) {
  return make("affine", out, [&] {
    if (shift == 0) return at::mul(x->t, scale);
    if (scale == 1) return at::add(x->t, shift);
    return at::mul(x->t, scale).add_(shift);
  });
}
nln_status nln_abs(nln_tensor *x, nln_tensor **out) {
  return make("abs", out, [&] { return at::abs(x->t); });
}
nln_status nln_exp(nln_tensor *x, nln_tensor **out) {
  return make("exp", out, [&] { return at::exp(x->t); });
}
nln_status nln_log(nln_tensor *x, nln_tensor **out) {
  return make("log", out, [&] { return at::log(x->t); });
}
nln_status nln_sqrt(nln_tensor *x, nln_tensor **out) {
  return make("sqrt", out, [&] { return at::sqrt(x->t); });
}
nln_status nln_square(nln_tensor *x, nln_tensor **out) {
  return make("square", out, [&] { return at::square(x->t); });
}
nln_status nln_clamp(nln_tensor *x, double lo, double hi, nln_tensor **out) {
  return make("clamp", out, [&] { return at::clamp(x->t, lo, hi); });
}
nln_status nln_sigmoid(nln_tensor *x, nln_tensor **out) {
  return make("sigmoid", out, [&] { return at::sigmoid(x->t); });
}
nln_status nln_tanh(nln_tensor *x, nln_tensor **out) {
  return make("tanh", out, [&] { return at::tanh(x->t); });
}
nln_status nln_relu(nln_tensor *x, nln_tensor **out) {
  return make("relu", out, [&] { return at::relu(x->t); });
}
nln_status nln_leaky_relu(nln_tensor *x, double slope, nln_tensor **out) {
  return make("leaky relu", out, [&] { return at::leaky_relu(x->t, slope); });
}
nln_status nln_relu_in_place(nln_tensor *x, nln_tensor **out) {
  return make("relu in place", out, [&] { return at::relu_(x->t); });
}

nln_status nln_reshape(nln_tensor *x, const int64_t *shape, int32_t ndim, nln_tensor **out) {
  return make("reshape", out, [&] { return x->t.reshape(sizes(shape, ndim)); });
}
nln_status nln_permute(nln_tensor *x, const int64_t *dims, int32_t ndim, nln_tensor **out) {
  return make("permute", out, [&] { return x->t.permute(sizes(dims, ndim)); });
}
nln_status nln_flip(nln_tensor *x, const int64_t *dims, int32_t ndim, nln_tensor **out) {
  return make("flip", out, [&] { return at::flip(x->t, sizes(dims, ndim)); });
}
nln_status nln_narrow(nln_tensor *x, int64_t dim, int64_t start, int64_t length, nln_tensor **out) {
  return make("narrow", out, [&] { return x->t.narrow(dim, start, length); });
}
nln_status nln_cat(nln_tensor *const *xs, int32_t n, int64_t dim, nln_tensor **out) {
  return make("cat", out, [&] {
    std::vector<at::Tensor> ts;
    for (int32_t i = 0; i < n; i++) ts.push_back(xs[i]->t);
    return at::cat(ts, dim);
  });
}
nln_status nln_pad2d(nln_tensor *x, int64_t left, int64_t right, int64_t top, int64_t bottom, nln_tensor **out) {
  return make("pad", out, [&] { return at::constant_pad_nd(x->t, {left, right, top, bottom}, 0); });
}

nln_status nln_sum(nln_tensor *x, nln_tensor **out) {
  return make("sum", out, [&] { return x->t.sum(); });
}
nln_status nln_mean(nln_tensor *x, nln_tensor **out) {
  return make("mean", out, [&] { return x->t.mean(); });
}
nln_status nln_sum_dim(nln_tensor *x, int64_t dim, nln_tensor **out) {
  return make("sum", out, [&] { return x->t.sum(dim); });
}
nln_status nln_mean_dim(nln_tensor *x, int64_t dim, nln_tensor **out) {
  return make("mean", out, [&] { return x->t.mean(dim); });
}

nln_status nln_matmul(nln_tensor *a, nln_tensor *b, nln_tensor **out) {
  return make("matmul", out, [&] { return at::matmul(a->t, b->t); });
}
nln_status nln_linear(nln_tensor *x, nln_tensor *w, nln_tensor *b, nln_tensor **out) {
  return make("linear", out, [&] { return linear(x->t, w->t, or_none(b)); });
}
nln_status nln_conv2d(nln_tensor *x, nln_tensor *w, nln_tensor *b, int64_t stride, int64_t padding, nln_tensor **out) {
  return make("conv2d", out, [&] { return convolve(x->t, w->t, or_none(b), stride, padding); });
}
nln_status nln_conv_transpose2d(nln_tensor *x, nln_tensor *w, nln_tensor *b, int64_t stride, int64_t padding, nln_tensor **out) {
  return make("transposed conv2d", out, [&] { return at::conv_transpose2d(x->t, w->t, or_none(b), stride, padding); });
}
nln_status nln_max_pool2d(nln_tensor *x, int64_t size, int64_t stride, nln_tensor **out) {
  return make("max pool", out, [&] { return at::max_pool2d(x->t, size, stride); });
}
nln_status nln_upsample2d(nln_tensor *x, int64_t factor, nln_tensor **out) {
  return make("upsample", out, [&] {
    if (x->t.dim() != 4) invalid("have " + std::to_string(x->t.dim()) + " dimensions, want 4");
    return at::upsample_nearest2d(x->t, {x->t.size(2) * factor, x->t.size(3) * factor});
  });
}
nln_status nln_batch_norm(nln_tensor *x, nln_tensor *weight, nln_tensor *bias, nln_tensor *running_mean, nln_tensor *running_var, int32_t training, double momentum, double eps, nln_tensor **out) {
  return make("batch norm", out, [&] {
    return at::batch_norm(x->t, or_none(weight), or_none(bias), running_mean->t, running_var->t, training != 0, momentum, eps, true);
  });
}
nln_status nln_dropout(nln_tensor *x, double p, nln_generator *g, nln_tensor **out) {
  return make("dropout", out, [&] {
    if (!(p >= 0 && p < 1)) invalid("probability " + std::to_string(p) + ", want 0 <= p < 1");
    // at::dropout takes no generator, so the mask is made here.
    at::Tensor mask = at::empty_like(x->t.detach()).bernoulli_(1 - p, g->g).div_(1 - p);
    return at::mul(x->t, mask);
  });
}

nln_status nln_mse_loss(nln_tensor *x, nln_tensor *target, nln_tensor **out) {
  return make("mse loss", out, [&] {
    if (x->t.sizes() != target->t.sizes()) invalid(c10::str("shapes differ: ", x->t.sizes(), " and ", target->t.sizes()));
    return at::mse_loss(x->t, target->t);
  });
}
nln_status nln_l1_loss(nln_tensor *x, nln_tensor *target, nln_tensor **out) {
  return make("l1 loss", out, [&] {
    if (x->t.sizes() != target->t.sizes()) invalid(c10::str("shapes differ: ", x->t.sizes(), " and ", target->t.sizes()));
    return at::l1_loss(x->t, target->t);
  });
}
nln_status nln_bce_with_logits_loss(nln_tensor *x, nln_tensor *target, nln_tensor **out) {
  return make("bce loss", out, [&] {
    if (x->t.sizes() != target->t.sizes()) invalid(c10::str("shapes differ: ", x->t.sizes(), " and ", target->t.sizes()));
    return at::binary_cross_entropy_with_logits(x->t, target->t);
  });
}
