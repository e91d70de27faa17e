"""Makes ops.json: inputs, results and gradients of each operation by PyTorch.

Run with Debian 12's python3-torch (1.13.1):  /usr/bin/python3 ops.py > ops.json

Each case draws its inputs from a generator seeded with the case's number, and
the gradients are those of sum(result * weight) with a random weight, so that
each element of the result counts differently.
"""
import json
import sys

import torch
import torch.nn.functional as F

CASES = []


def tensor(t):
    return {"shape": list(t.shape), "data": [float("%.9g" % v) for v in t.detach().reshape(-1).tolist()]}


def case(op, shapes, fn, args=None, lo=-2.0, hi=2.0, constant=()):
    """fn gets tensors of the shapes, uniform in [lo, hi); those whose number is
    in constant are no variables."""
    g = torch.Generator().manual_seed(len(CASES) + 1)
    xs = []
    for i, shape in enumerate(shapes):
        x = torch.empty(shape).uniform_(lo, hi, generator=g)
        x.requires_grad_(i not in constant)
        xs.append(x)
    out = fn(*xs)
    weight = torch.empty(out.shape).uniform_(-1, 1, generator=g)
    variables = [x for x in xs if x.requires_grad]
    grads = torch.autograd.grad((out * weight).sum(), variables)
    CASES.append({
        "op": op, "args": args or [], "inputs": [tensor(x) for x in xs], "constant": list(constant),
        "output": tensor(out), "weight": tensor(weight), "grads": [tensor(g) for g in grads],
    })


case("add", [(2, 3), (2, 3)], torch.add)
case("add", [(2, 3, 4), (3, 1)], torch.add)
case("sub", [(2, 3), (3,)], torch.sub)
case("mul", [(2, 3), (2, 1)], torch.mul)
case("div", [(2, 3), (2, 3)], torch.div, lo=0.5, hi=2)
case("affine", [(5,)], lambda x: -1.5 * x + 0.25, [-1.5, 0.25])
case("affine", [(5,)], lambda x: 3 * x, [3, 0])
case("affine", [(5,)], lambda x: x + 2, [1, 2])
case("abs", [(7,)], torch.abs)
case("exp", [(7,)], torch.exp)
case("log", [(7,)], torch.log, lo=0.1, hi=3)
case("sqrt", [(7,)], torch.sqrt, lo=0.1, hi=3)
case("square", [(7,)], torch.square)
case("clamp", [(9,)], lambda x: x.clamp(-1, 0.5), [-1, 0.5])
case("sigmoid", [(7,)], torch.sigmoid, lo=-6, hi=6)
case("tanh", [(7,)], torch.tanh)
case("relu", [(3, 4)], torch.relu)
case("leaky_relu", [(3, 4)], lambda x: F.leaky_relu(x, 0.2), [0.2])
case("relu_in_place", [(3, 4)], lambda x: torch.relu(x + 0), [])
case("reshape", [(2, 6)], lambda x: x.reshape(3, -1), [3, -1])
case("permute", [(2, 3, 4)], lambda x: x.permute(2, 0, 1), [2, 0, 1])
case("flip", [(2, 2, 3)], lambda x: x.flip(1, 2), [1, 2])
case("narrow", [(3, 5)], lambda x: x.narrow(1, 1, 3), [1, 1, 3])
case("cat", [(2, 3), (2, 1), (2, 2)], lambda *x: torch.cat(x, 1), [1])
case("pad", [(1, 2, 3, 3)], lambda x: F.pad(x, (1, 2, 0, 3)), [1, 2, 0, 3])
case("sum", [(3, 4)], torch.sum)
case("mean", [(3, 4)], torch.mean)
case("sum_dim", [(3, 4, 2)], lambda x: x.sum(1), [1])
case("mean_dim", [(3, 4, 2)], lambda x: x.mean(0), [0])
case("matmul", [(3, 4), (4, 2)], torch.matmul)
case("linear", [(3, 5), (4, 5), (4,)], F.linear)
case("linear", [(3, 5), (4, 5)], F.linear)
case("conv2d", [(2, 3, 5, 6), (4, 3, 2, 2), (4,)], lambda x, w, b: F.conv2d(x, w, b), [1, 0])
case("conv2d", [(2, 3, 6, 6), (4, 3, 4, 4), (4,)], lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), [2, 1])
case("conv2d", [(1, 2, 5, 5), (3, 2, 3, 3)], lambda x, w: F.conv2d(x, w, padding=1), [1, 1])
case("conv_transpose2d", [(2, 3, 4, 4), (3, 2, 2, 2), (2,)], lambda x, w, b: F.conv_transpose2d(x, w, b), [1, 0])
case("conv_transpose2d", [(1, 3, 3, 3), (3, 2, 4, 4), (2,)], lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1), [2, 1])
case("max_pool2d", [(2, 2, 4, 6)], lambda x: F.max_pool2d(x, 2), [2, 2])
case("max_pool2d", [(1, 1, 5, 5)], lambda x: F.max_pool2d(x, 2), [2, 2])
case("upsample2d", [(2, 2, 2, 3)], lambda x: F.interpolate(x, scale_factor=2, mode="nearest"), [2])
case("batch_norm_train", [(4, 3, 2, 2), (3,), (3,)],
     lambda x, w, b: F.batch_norm(x, torch.zeros(3), torch.ones(3), w, b, True, 0.01, 1e-3))
case("batch_norm_eval", [(4, 3, 2, 2), (3,), (3,)],
     lambda x, w, b: F.batch_norm(x, torch.tensor([0.5, 0, -1]), torch.tensor([1, 2, 0.5]), w, b, False, 0.01, 1e-3))
case("mse_loss", [(3, 4), (3, 4)], F.mse_loss)
case("l1_loss", [(3, 4), (3, 4)], F.l1_loss)
case("bce_with_logits_loss", [(3, 4), (3, 4)],
     lambda x, t: F.binary_cross_entropy_with_logits(x, t.abs() / 2), constant=(1,))
CASES[-1]["inputs"][1]["data"] = [abs(v) / 2 for v in CASES[-1]["inputs"][1]["data"]]


def adam(lr, eps, steps):
    """Parameters after each of some steps of Adam on fixed gradients."""
    g = torch.Generator().manual_seed(1000)
    p = torch.empty(6).uniform_(-1, 1, generator=g).requires_grad_(True)
    opt = torch.optim.Adam([p], lr=lr, betas=(0.9, 0.999), eps=eps)
    start, grads, after = tensor(p), [], []
    for _ in range(steps):
        p.grad = torch.empty(6).uniform_(-1, 1, generator=g)
        grads.append(tensor(p.grad)["data"])
        opt.step()
        after.append(tensor(p)["data"])
    return {"lr": lr, "eps": eps, "start": start["data"], "grads": grads, "after": after}


def moved():
    """Running mean and variance after one batch norm in training."""
    g = torch.Generator().manual_seed(2000)
    x = torch.empty(4, 3, 2, 2).uniform_(-2, 2, generator=g)
    mean, var = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3.0])
    x_, m_, v_ = tensor(x), tensor(mean), tensor(var)
    F.batch_norm(x, mean, var, torch.ones(3), torch.zeros(3), True, 0.01, 1e-3)
    return {"x": x_, "mean": m_, "var": v_, "mean_after": tensor(mean), "var_after": tensor(var)}


json.dump({"torch": torch.__version__, "cases": CASES, "adam": [adam(1e-3, 1e-7, 5), adam(0.1, 1e-2, 5)], "batch_norm": moved()},
          sys.stdout, indent=None, separators=(",", ":"))
print()
