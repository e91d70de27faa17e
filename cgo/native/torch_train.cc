// torch_train.cc: gradients and Adam.
#include "torch.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>

using namespace nln;

struct nln_adam : nln::Counted {
  struct Slot {
    at::Tensor param, m, v;
    int64_t steps;
  };
  std::vector<Slot> slots;
  double lr, beta1, beta2, eps;
};

namespace {

// update is Adam (Kingma and Ba, algorithm 1) with eps added after the bias
// correction of the second moment, as PyTorch does. All tensors are detached,
// so no gradient is recorded.
void update(nln_adam::Slot &s, const at::Tensor &grad, const nln_adam &a) {
  s.steps++;
  const double c1 = 1 - std::pow(a.beta1, static_cast<double>(s.steps));
  const double c2 = 1 - std::pow(a.beta2, static_cast<double>(s.steps));
  s.m.mul_(a.beta1).add_(grad, 1 - a.beta1);
  s.v.mul_(a.beta2).addcmul_(grad, grad, 1 - a.beta2);
  s.param.addcdiv_(s.m, s.v.sqrt().div_(std::sqrt(c2)).add_(a.eps), -a.lr / c1);
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
      at::Tensor p = params[i]->t.detach();
      a->slots.push_back({p, at::zeros_like(p), at::zeros_like(p), 0});
    }
    *out = a.release();
  });
}

void nln_adam_free(nln_adam *a) { delete a; }

nln_status nln_adam_step(nln_adam *a, nln_tensor *const *grads, int32_t n) {
  return run("adam step", [&] {
    if (static_cast<size_t>(n) != a->slots.size())
      invalid("have " + std::to_string(n) + " gradients, want " + std::to_string(a->slots.size()));
    for (int32_t i = 0; i < n; i++) {
      if (!grads[i]) continue;
      nln_adam::Slot &s = slot(a, i);
      if (grads[i]->t.sizes() != s.param.sizes())
        invalid(c10::str("gradient ", i, " has shape ", grads[i]->t.sizes(), ", its parameter ", s.param.sizes()));
      update(s, grads[i]->t.detach(), *a);
    }
  });
}

nln_status nln_adam_state(nln_adam *a, int32_t i, nln_tensor **m, nln_tensor **v, int64_t *steps) {
  return run("adam state", [&] {
    nln_adam::Slot &s = slot(a, i);
    auto hm = std::make_unique<nln_tensor>(s.m), hv = std::make_unique<nln_tensor>(s.v);
    *m = hm.release(), *v = hv.release(), *steps = s.steps;
  });
}

nln_status nln_adam_set_steps(nln_adam *a, int32_t i, int64_t steps) {
  return run("adam state", [&] { slot(a, i).steps = steps; });
}
