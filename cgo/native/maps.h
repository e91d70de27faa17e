// maps.h: what the blocks of torch_blocks.cc, torch_conv.cc and torch_winograd.cc share.
#pragma once

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <atomic>
#include <exception>
#include <mutex>

#include "blocks.h"
#include "torch.h"

namespace nln {

constexpr auto kLast = at::MemoryFormat::ChannelsLast;

inline const blocks::Level &level() { return blocks::fastest(); }

// Maps are `count` maps of h rows, w columns and c channels, the channels last.
struct Maps {
  int64_t count, h, w, c;
  int64_t pixels() const { return h * w; }
  int64_t size() const { return h * w * c; }
  Maps bordered() const { return {count, h + 1, w + 1, c}; }
};

inline Maps maps(const at::Tensor &x) { return {x.size(0), x.size(2), x.size(3), x.size(1)}; }

// How a convolution goes on: with its result as it is, with ReLU, with ReLU and the
// maxima of 2x2 windows, or with ReLU, flattened.
enum Then { kPlain, kRelu, kPool, kFlat };

// each calls body(part, first, last) for equal parts of n images, one a thread.
// What parts add up depends on their number and not on which thread was first.
template <class Body>
void each(int64_t parts, int64_t n, Body &&body) {
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; p++) body(p, p * n / parts, (p + 1) * n / parts);
  });
}

// in_turn calls body(room, first, last) for groups of `size` of n images, where make()
// returns a thread's room for what it keeps meanwhile. A thread that is done takes the
// next group: beside other work, as when files are read, one of them may be held up.
template <class Make, class Body>
void in_turn(int64_t n, int64_t size, Make &&make, Body &&body) {
  const int64_t groups = (n + size - 1) / size;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failed;
  const auto work = [&] {
    try {
      auto room = make();
      for (int64_t g = next++; g < groups; g = next++) body(room, g * size, std::min(n, (g + 1) * size));
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      failed = std::current_exception();
    }
  };
  const auto threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), groups)));
#pragma omp parallel num_threads(threads) if (threads > 1)
  work();
  if (failed) std::rethrow_exception(failed);
}

inline int64_t parts_of(int64_t n) { return std::min<int64_t>(at::get_num_threads(), std::max<int64_t>(n, 1)); }

inline bool records(const at::Tensor &x) { return at::GradMode::is_enabled() && x.requires_grad(); }

inline const float *values(const at::Tensor &t) { return t.defined() ? t.data_ptr<float>() : nullptr; }

// keep records what the gradients of a convolution need: `passed` is its result after
// ReLU, or which values were the maxima, undefined where all passes.
inline void keep(torch::autograd::AutogradContext *ctx, const at::Tensor &x, const at::Tensor &weight, const at::Tensor &passed,
                 bool before, int64_t then) {
  ctx->save_for_backward({x, weight, passed});
  ctx->saved_data["before"] = before;
  ctx->saved_data["then"] = then;
}

// Kept is that again, and which gradients are asked for: of the maps, of the kernel or
// the bias.
struct Kept {
  at::Tensor x, weight, passed;
  bool before, wanted, learns;
  int64_t then;

  explicit Kept(torch::autograd::AutogradContext *ctx)
      : before(ctx->saved_data["before"].toBool()), wanted(ctx->needs_input_grad(0)),
        learns(ctx->needs_input_grad(1) || ctx->needs_input_grad(2)), then(ctx->saved_data["then"].toInt()) {
    const auto saved = ctx->get_saved_variables();
    x = saved[0], weight = saved[1], passed = saved[2];
  }
};

// filled_up returns a bias with zeros up to whole panels.
inline at::Tensor filled_up(const at::Tensor &bias) {
  const int64_t width = level().width;
  return at::constant_pad_nd(bias, {0, (width - bias.numel() % width) % width}, 0).contiguous();
}

}  // namespace nln
