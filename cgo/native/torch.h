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

// The tensor of an optional argument, undefined for NULL.
inline at::Tensor or_none(nln_tensor *t) { return t ? t->t : at::Tensor(); }

}  // namespace nln
