// torch_train.cc: gradients and Adam.
#include "torch.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "blocks.h"

using namespace nln;

struct nln_adam : nln::Counted {
  struct Slot {
    at::Tensor param, m, v;
    int64_t steps;        // on the CPU
    at::Tensor on_device;  // the same on another device, where recorded work counts on: one float32
  };
  std::vector<Slot> slots;
  double lr, beta1, beta2, eps;
};

namespace {

// Adam (Kingma and Ba, algorithm 1) with eps added after the bias correction of
// the second moment, as PyTorch does. All tensors are detached, so no gradient is
// recorded.
void update(nln_adam::Slot &s, const at::Tensor &grad, const nln_adam &a) {
  s.steps++;
  const double c1 = 1 - std::pow(a.beta1, static_cast<double>(s.steps));
  const double c2 = 1 - std::pow(a.beta2, static_cast<double>(s.steps));
  const blocks::Adam u{static_cast<float>(a.beta1), static_cast<float>(a.beta2), static_cast<float>(a.lr / c1),
                       static_cast<float>(1 / std::sqrt(c2)), static_cast<float>(a.eps)};
  const at::Tensor g = grad.contiguous();
  const float *from = g.data_ptr<float>();
  float *p = s.param.data_ptr<float>(), *m = s.m.data_ptr<float>(), *v = s.v.data_ptr<float>();
  at::parallel_for(0, g.numel(), 1 << 15, [&](int64_t first, int64_t last) {
    blocks::fastest().adam(u, last - first, from + first, p + first, m + first, v + first);
  });
}

// The same of all parameters at once by libtorch's one kernel.
void update_on_device(nln_adam &a, const std::vector<int32_t> &which, const std::vector<at::Tensor> &grads) {
  std::vector<at::Tensor> params, ms, vs, steps;
  for (const int32_t i : which) {
    nln_adam::Slot &s = a.slots[static_cast<size_t>(i)];
    params.push_back(s.param), ms.push_back(s.m), vs.push_back(s.v), steps.push_back(s.on_device);
  }
  if (params.empty()) return;
  at::_foreach_add_(steps, 1);
  at::_fused_adam_(params, grads, ms, vs, {}, steps, a.lr, a.beta1, a.beta2, /*weight_decay=*/0, a.eps, /*amsgrad=*/false, /*maximize=*/false);
}

nln_adam::Slot &slot(nln_adam *a, int32_t i) {
  if (i < 0 || static_cast<size_t>(i) >= a->slots.size())
    invalid("have parameter " + std::to_string(i) + " of " + std::to_string(a->slots.size()));
  return a->slots[static_cast<size_t>(i)];
}

}  // namespace

nln_status nln_grad(nln_tensor *loss, nln_tensor *const *params, int32_t n, int32_t keep_graph, nln_tensor **grads) {
  return run("grad", [&] {
    if (loss->t.numel() != 1) invalid(c10::str("loss has shape ", loss->t.sizes(), ", want a scalar"));
    std::vector<at::Tensor> inputs;
    for (int32_t i = 0; i < n; i++) inputs.push_back(params[i]->t);
    auto found = torch::autograd::grad({loss->t}, inputs, {}, keep_graph != 0, /*create_graph=*/false, /*allow_unused=*/true);
    std::vector<std::unique_ptr<nln_tensor>> made(found.size());
    for (size_t i = 0; i < found.size(); i++)
      if (found[i].defined()) made[i] = std::make_unique<nln_tensor>(std::move(found[i]));
    for (size_t i = 0; i < made.size(); i++) grads[i] = made[i].release();
  });
}

nln_status nln_adam_new(nln_tensor *const *params, int32_t n, double lr, double beta1, double beta2, double eps, nln_adam **out) {
  return run("adam", [&] {
    auto a = std::make_unique<nln_adam>();
    a->lr = lr, a->beta1 = beta1, a->beta2 = beta2, a->eps = eps;
    for (int32_t i = 0; i < n; i++) {
      const at::Tensor p = params[i]->t.detach();
      if (!p.is_contiguous() || p.scalar_type() != at::kFloat) invalid(c10::str("parameter ", i, " is not float32 in rows"));
      const at::Tensor steps = p.device().is_cpu() ? at::Tensor() : at::zeros({}, p.options());
      a->slots.push_back({p, at::zeros_like(p), at::zeros_like(p), 0, steps});
    }
    *out = a.release();
  });
}

void nln_adam_free(nln_adam *a) { delete a; }

nln_status nln_adam_step(nln_adam *a, nln_tensor *const *grads, int32_t n) {
  return run("adam step", [&] {
    if (static_cast<size_t>(n) != a->slots.size())
      invalid("have " + std::to_string(n) + " gradients, want " + std::to_string(a->slots.size()));
    std::vector<int32_t> which;
    std::vector<at::Tensor> theirs;
    for (int32_t i = 0; i < n; i++) {
      if (!grads[i]) continue;
      nln_adam::Slot &s = slot(a, i);
      const at::Tensor g = grads[i]->t.detach();
      if (g.sizes() != s.param.sizes()) invalid(c10::str("gradient ", i, " has shape ", g.sizes(), ", its parameter ", s.param.sizes()));
      if (s.param.device().is_cpu()) {
        update(s, g, *a);
        continue;
      }
      // The kernel wants the parameter's strides, also where they say nothing.
      which.push_back(i);
      theirs.push_back(g.strides() == s.param.strides() ? g : at::empty_like(s.param).copy_(g));
    }
    update_on_device(*a, which, theirs);
  });
}

nln_status nln_adam_state(nln_adam *a, int32_t i, nln_tensor **m, nln_tensor **v, int64_t *steps) {
  return run("adam state", [&] {
    nln_adam::Slot &s = slot(a, i);
    auto hm = std::make_unique<nln_tensor>(s.m), hv = std::make_unique<nln_tensor>(s.v);
    *steps = s.on_device.defined() ? std::llround(s.on_device.item<double>()) : s.steps;
    *m = hm.release(), *v = hv.release();
  });
}

nln_status nln_adam_set_steps(nln_adam *a, int32_t i, int64_t steps) {
  return run("adam state", [&] {
    nln_adam::Slot &s = slot(a, i);
    s.steps = steps;
    if (s.on_device.defined()) s.on_device.fill_(static_cast<double>(steps));
  });
}
