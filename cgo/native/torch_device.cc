// torch_device.cc: what scoring and training on a device need beyond operations on
// float32: bytes and ids, rows by id, exact search. All of it is libtorch's
// operations, which run on any device, the CPU among them.
#include "torch.h"

#include <dlfcn.h>
#include <torch/cuda.h>

#include <algorithm>
#include <cmath>

using namespace nln;

namespace {

std::atomic<bool> low_precision{false};

// no_cudnn says whether the cuDNN that libtorch was loaded with is a stand-in, as in
// images that may not have the real one: its version is 0.
bool no_cudnn() {
  void *lib = dlopen("libcudnn.so.9", RTLD_NOLOAD | RTLD_LAZY);
  const auto version = lib ? reinterpret_cast<size_t (*)()>(dlsym(lib, "cudnnGetVersion")) : nullptr;
  const bool none = version && version() == 0;
  if (lib) dlclose(lib);
  return none;
}

// set_up is done when the core is loaded. Some of cuDNN's gradients of convolutions add
// up in an order that changes from call to call; a training that goes on from a
// checkpoint ends where one in one go does, and so these are never taken. And cuDNN
// would round factors, as cuBLAS where the environment says so, which is for
// nln_set_precision to say.
bool set_up() {
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setAllowTF32CuDNN(false);
  at::globalContext().setAllowTF32CuBLAS(false);
  if (no_cudnn()) at::globalContext().setUserEnabledCuDNN(false);
  return true;
}

[[maybe_unused]] const bool ready = set_up();

// Tensors that an operation makes on its way have about this many bytes at most.
constexpr int64_t kRoom = int64_t{256} << 20;

// full_float32 keeps products of float32 from being rounded to less while it lives.
struct FullFloat32 {
  const bool before = at::globalContext().allowTF32CuBLAS();
  FullFloat32() { at::globalContext().setAllowTF32CuBLAS(false); }
  ~FullFloat32() { at::globalContext().setAllowTF32CuBLAS(before); }
};

at::ScalarType dtype(int32_t d) {
  switch (d) {
    case NLN_DTYPE_F32: return at::kFloat;
    case NLN_DTYPE_U8: return at::kByte;
    case NLN_DTYPE_I64: return at::kLong;
  }
  invalid("unknown type " + std::to_string(d));
}

at::Tensor from(const void *data, int64_t n, const int64_t *shape, int32_t ndim, int32_t dev, at::ScalarType type) {
  check_count(n, product(shape, ndim));
  at::Tensor t = at::empty(sizes(shape, ndim), at::TensorOptions().dtype(type).device(device(dev)));
  if (n > 0) t.copy_(borrow(data, sizes(shape, ndim), type));
  return t;
}

void check_type(const at::Tensor &t, at::ScalarType want, const char *what) {
  if (t.scalar_type() != want) invalid(c10::str(what, " have the type ", t.scalar_type(), ", want ", want));
}

void check_matrix(const at::Tensor &t, int64_t columns, const char *what) {
  if (t.dim() != 2 || t.size(1) != columns) invalid(c10::str(what, " have shape ", t.sizes(), ", want (N, ", columns, ")"));
}

}  // namespace

bool nln::bfloat16() { return low_precision.load(std::memory_order_relaxed); }

nln_status nln_device_count(int32_t *count) {
  return run("devices", [&] { *count = static_cast<int32_t>(torch::cuda::device_count()); });
}

nln_status nln_set_precision(int32_t precision) {
  return run("precision", [&] {
    if (precision < NLN_FLOAT32 || precision > NLN_BFLOAT16) invalid("unknown precision " + std::to_string(precision));
    at::globalContext().setAllowTF32CuBLAS(precision == NLN_TF32);
    at::globalContext().setAllowTF32CuDNN(precision == NLN_TF32);
    low_precision = precision == NLN_BFLOAT16;
  });
}

nln_status nln_tensor_assign(nln_tensor *t, nln_tensor *x) {
  return run("assign", [&] {
    if (t->t.sizes() != x->t.sizes() || t->t.scalar_type() != x->t.scalar_type())
      invalid(c10::str("have ", x->t.scalar_type(), " of shape ", x->t.sizes(), ", want ", t->t.scalar_type(), " of shape ", t->t.sizes()));
    t->t.detach().copy_(x->t.detach(), /*non_blocking=*/true);
  });
}

nln_status nln_tensor_from_u8(const uint8_t *data, int64_t n, const int64_t *shape, int32_t ndim, int32_t dev, nln_tensor **out) {
  return make("from bytes", out, [&] { return from(data, n, shape, ndim, dev, at::kByte); });
}

nln_status nln_tensor_from_i64(const int64_t *data, int64_t n, const int64_t *shape, int32_t ndim, int32_t dev, nln_tensor **out) {
  return make("from ids", out, [&] { return from(data, n, shape, ndim, dev, at::kLong); });
}

nln_status nln_tensor_copy_to_i64(nln_tensor *t, int64_t *dst, int64_t n) {
  return run("copy to host", [&] {
    check_type(t->t, at::kLong, "ids");
    check_count(n, t->t.numel());
    if (n > 0) borrow(dst, t->t.sizes(), at::kLong).copy_(t->t);
  });
}

nln_status nln_tensor_staging(int32_t type, const int64_t *shape, int32_t ndim, void **data, nln_tensor **out) {
  return run("staging memory", [&] {
    product(shape, ndim);
    const auto options = at::TensorOptions().dtype(dtype(type)).pinned_memory(at::hasCUDA());
    auto t = std::make_unique<nln_tensor>(at::zeros(sizes(shape, ndim), options));
    *data = t->t.data_ptr();
    *out = t.release();
  });
}

nln_status nln_take_rows(nln_tensor *x, nln_tensor *ids, nln_tensor **out) {
  return make("take rows", out, [&] { return at::index_select(x->t, 0, ids->t); });
}

nln_status nln_scale_images(nln_tensor *bytes, int32_t minmax, nln_tensor **out) {
  return make("scale images", out, [&] {
    check_type(bytes->t, at::kByte, "images");
    if (bytes->t.dim() != 4) invalid(c10::str("have shape ", bytes->t.sizes(), ", want (N, C, H, W)"));
    const at::Tensor x = bytes->t.to(at::kFloat);
    // Divided by a tensor: by a number, libtorch would multiply by its inverse.
    if (!minmax) return at::div(x, at::full({1}, 255, x.options()));
    const at::Tensor lo = at::amin(x, {2, 3}, true), range = at::amax(x, {2, 3}, true).sub_(lo);
    return at::sub(x, lo).div_(range.clamp_min_(1)); // 0 / 1 where all are equal
  });
}

nln_status nln_mean_abs_rows(nln_tensor *x, nln_tensor *table, nln_tensor *ids, nln_tensor **out) {
  return make("mean difference to rows", out, [&] {
    const at::Tensor &q = x->t, &rows = table->t;
    if (rows.dim() != 2) invalid(c10::str("table has shape ", rows.sizes(), ", want (M, F)"));
    check_matrix(q, rows.size(1), "rows");
    check_type(ids->t, at::kLong, "ids");
    if (ids->t.dim() != 2 || ids->t.size(0) != q.size(0)) invalid(c10::str("ids have shape ", ids->t.sizes(), ", want (", q.size(0), ", K)"));
    const int64_t n = q.size(0), k = ids->t.size(1), f = q.size(1);
    at::Tensor e = at::empty({n, k}, q.options());
    const int64_t block = std::max<int64_t>(1, kRoom / std::max<int64_t>(1, k * f * 4));
    const at::Tensor full = at::full({1}, 255, q.options());
    for (int64_t lo = 0; lo < n; lo += block) {
      const int64_t m = std::min(block, n - lo);
      at::Tensor r = at::index_select(rows, 0, ids->t.narrow(0, lo, m).reshape({-1}));
      r = rows.scalar_type() == at::kByte ? r.to(at::kFloat).div_(full) : r;
      e.narrow(0, lo, m).copy_(r.view({m, k, f}).sub_(q.narrow(0, lo, m).unsqueeze(1)).abs_().mean(2));
    }
    return e;
  });
}

nln_status nln_prefix_means(nln_tensor *x, nln_tensor **out) {
  return make("prefix means", out, [&] {
    if (x->t.dim() != 2) invalid(c10::str("have shape ", x->t.sizes(), ", want (N, K)"));
    return at::cumsum(x->t, 1).div_(at::arange(1, x->t.size(1) + 1, x->t.options()));
  });
}

struct nln_near : nln::Counted {
  at::Tensor vectors;  // (M, L)
  at::Tensor squares;  // (1, M): their squared lengths
  double longest;      // length of the longest vector
};

namespace {

// kSpare is how many candidates are looked at beyond those that are asked for.
constexpr int64_t kSpare = 16;

// Ranked is the k nearest among candidates.
struct Ranked {
  at::Tensor dist, ids;  // (N, k)
  at::Tensor last;       // (N): the last one's squared distance, float64
};

// rank compares queries with candidates (N, C), rows of vectors, in float64.
Ranked rank(const at::Tensor &vectors, const at::Tensor &queries, const at::Tensor &candidates, int64_t k) {
  // In order of id first, which the stable sort by distance then keeps.
  const at::Tensor ids = std::get<0>(at::sort(candidates, 1));
  const int64_t n = ids.size(0), c = ids.size(1), l = vectors.size(1);
  const at::Tensor v = at::index_select(vectors, 0, ids.reshape({-1})).view({n, c, l}).to(at::kDouble);
  const at::Tensor squared = at::sub(v, queries.to(at::kDouble).unsqueeze(1)).square_().sum(2);
  const auto [dist, order] = at::sort(squared.sqrt().to(at::kFloat), /*stable=*/true, 1, false);
  const at::Tensor first = order.narrow(1, 0, k);
  return {dist.narrow(1, 0, k), at::gather(ids, 1, first), at::gather(squared, 1, first).amax(1)};
}

void check_search(const nln_near *x, const at::Tensor &queries, int64_t k) {
  check_matrix(queries, x->vectors.size(1), "queries");
  if (k < 1 || k > x->vectors.size(0)) invalid(c10::str("have k of ", k, ", want 1 to ", x->vectors.size(0)));
}

}  // namespace

nln_status nln_near_new(nln_tensor *vectors, nln_near **out) {
  return run("search", [&] {
    const at::Tensor &v = vectors->t;
    if (v.dim() != 2 || v.size(0) < 1) invalid(c10::str("vectors have shape ", v.sizes(), ", want (M, L) with M at least 1"));
    check_type(v, at::kFloat, "vectors");
    auto x = std::make_unique<nln_near>();
    x->vectors = v.detach();
    const at::Tensor squares = x->vectors.to(at::kDouble).square_().sum(1);
    x->squares = squares.to(at::kFloat).unsqueeze(0);
    x->longest = std::sqrt(squares.max().item<double>());
    *out = x.release();
  });
}

void nln_near_free(nln_near *x) { delete x; }

nln_status nln_near_search(nln_near *x, nln_tensor *queries, int64_t k, nln_tensor **dist, nln_tensor **ids, nln_tensor **unsure) {
  return run("search", [&] {
    const at::Tensor q = queries->t.detach();
    check_search(x, q, k);
    const FullFloat32 full;
    const int64_t n = q.size(0), m = x->vectors.size(0), l = q.size(1), c = std::min(m, k + kSpare);
    const int64_t width = std::max(c, std::min(m, kRoom / std::max<int64_t>(1, 4 * n)));
    // |v|^2 - 2 q v is the squared distance less |q|^2, which all vectors share.
    at::Tensor best, which;
    for (int64_t lo = 0; lo < m; lo += width) {
      const int64_t w = std::min(width, m - lo);
      const at::Tensor s = at::addmm(x->squares.narrow(1, lo, w), q, x->vectors.narrow(0, lo, w).t(), 1, -2);
      auto [value, place] = at::topk(s, std::min(c, w), 1, /*largest=*/false, /*sorted=*/false);
      place = lo > 0 ? place.add_(lo) : place;
      if (lo > 0) {
        const at::Tensor values = at::cat({best, value}, 1), places = at::cat({which, place}, 1);
        at::Tensor at_;
        std::tie(value, at_) = at::topk(values, c, 1, false, false);
        place = at::gather(places, 1, at_);
      }
      best = value, which = place;
    }
    Ranked r = rank(x->vectors, q, which, k);
    at::Tensor doubt = at::zeros({n}, q.options());
    if (c < m) {
      // A float32 sum of l products is off by at most (l + 2) units in the last
      // place of the sum of their absolute values, which Cauchy and Schwarz bound;
      // the length of q is itself rounded, and so a little is added.
      const at::Tensor square = q.to(at::kDouble).square_().sum(1);
      const double unit = std::ldexp(1.0, -24) * static_cast<double>(l + 8);
      const at::Tensor error = square.sqrt().mul_(2 * x->longest).add_(x->longest * x->longest).mul_(unit);
      const at::Tensor bound = best.amax(1).to(at::kDouble).sub_(error).add_(square);
      // Not "less than", which NaN would pass. The distances are rounded: two that
      // are equal then may differ here. Where float32 overflows it says nothing.
      const at::Tensor sure = at::logical_and(at::lt(r.last.mul(1 + std::ldexp(1.0, -22)), bound), at::lt(error, 3e38 * unit));
      doubt = at::logical_not(sure).to(at::kFloat);
    }
    auto hd = std::make_unique<nln_tensor>(r.dist), hi = std::make_unique<nln_tensor>(r.ids);
    *unsure = new nln_tensor(doubt);
    *dist = hd.release(), *ids = hi.release();
  });
}

nln_status nln_near_all(nln_near *x, nln_tensor *queries, int64_t k, nln_tensor **dist, nln_tensor **ids) {
  return run("search", [&] {
    const at::Tensor q = queries->t.detach();
    check_search(x, q, k);
    const int64_t m = x->vectors.size(0), l = q.size(1);
    const int64_t width = std::max<int64_t>(1, kRoom / std::max<int64_t>(1, 16 * q.size(0) * l));
    at::Tensor which;
    Ranked r;
    for (int64_t lo = 0; lo < m; lo += width) {
      const int64_t w = std::min(width, m - lo);
      at::Tensor some = at::arange(lo, lo + w, x->vectors.options().dtype(at::kLong)).expand({q.size(0), w});
      if (lo > 0) some = at::cat({which, some}, 1);
      r = rank(x->vectors, q, some, std::min(k, some.size(1)));
      which = r.ids;
    }
    auto hd = std::make_unique<nln_tensor>(r.dist);
    *ids = new nln_tensor(r.ids);
    *dist = hd.release();
  });
}
