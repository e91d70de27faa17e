// torch.h: what the libtorch side of the core shares, and the one place that
// knows which libtorch it is (1.13 to 2.11 are supported).
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <vector>

#include "core.h"

struct nln_tensor : nln::Counted {
  at::Tensor t;
  explicit nln_tensor(at::Tensor x) : t(std::move(x)) {}
};

struct nln_generator : nln::Counted {
  at::Generator g;
  explicit nln_generator(at::Generator x) : g(std::move(x)) {}
};

namespace nln {

// run is guarded for a body that calls libtorch.
template <class Body>
nln_status run(const char *op, Body &&body) noexcept {
  return guarded(op, [&] {
    use_threads();
    try {
      body();
    } catch (const c10::OutOfMemoryError &e) {
      throw Error(NLN_NO_MEMORY, e.what_without_backtrace());
    } catch (const c10::Error &e) {
      const char *what = e.what_without_backtrace();
      // The CPU allocator throws a plain c10::Error.
      const bool memory = std::strstr(what, "not enough memory") || std::strstr(what, "can't allocate memory");
      throw Error(memory ? NLN_NO_MEMORY : NLN_INVALID, what);
    }
  });
}

// make runs body, which returns a tensor, and stores a handle on it in out.
template <class Body>
nln_status make(const char *op, nln_tensor **out, Body &&body) noexcept {
  return run(op, [&] { *out = new nln_tensor(body()); });
}

inline at::Device device(int32_t d) {
  if (d == NLN_CPU) return at::Device(at::kCPU);
  if (d < 0) invalid("unknown device " + std::to_string(d));
  if (!at::hasCUDA()) throw Error(NLN_UNSUPPORTED, "this core has no CUDA");
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(d));
}

inline at::TensorOptions f32(int32_t d) { return at::TensorOptions().dtype(at::kFloat).device(device(d)); }

inline at::IntArrayRef sizes(const int64_t *p, int32_t n) { return {p, static_cast<size_t>(n)}; }

// product returns the number of elements of a shape.
inline int64_t product(const int64_t *shape, int32_t ndim) {
  int64_t n = 1;
  for (int32_t i = 0; i < ndim; i++) {
    if (shape[i] < 0) invalid("negative size in shape " + c10::str(sizes(shape, ndim)));
    if (__builtin_mul_overflow(n, shape[i], &n)) invalid("shape too large: " + c10::str(sizes(shape, ndim)));
  }
  return n;
}

inline void check_count(int64_t have, int64_t want) {
  if (have != want) invalid("have " + std::to_string(have) + " values, want " + std::to_string(want));
}

// A tensor over the caller's memory, for copying only.
inline at::Tensor borrow(const void *data, at::IntArrayRef shape, at::ScalarType type = at::kFloat) {
  return at::from_blob(const_cast<void *>(data), shape, at::TensorOptions().dtype(type));
}

// The precision of nln_set_precision, as far as it is not libtorch's to know.
bool bfloat16();

// convolve and linear compute in that precision; results are float32.
at::Tensor convolve(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b, int64_t stride, int64_t padding);
at::Tensor linear(const at::Tensor &x, const at::Tensor &w, const at::Tensor &b);

// cuda_devices returns the CUDA devices as members of a JSON array, "" without any.
std::string cuda_devices();

// The tensor of an optional argument, undefined for NULL.
inline at::Tensor or_none(nln_tensor *t) { return t ? t->t : at::Tensor(); }

}  // namespace nln
