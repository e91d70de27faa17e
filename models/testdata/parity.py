"""Makes parity.json: losses and weights of ten training steps of each model by
plain PyTorch, for the same start, images and noise as the Go test has.

Run with Debian 12's python3-torch (1.13.1):  /usr/bin/python3 parity.py > parity.json

Nothing is drawn at random: start values, images and noise come from values(),
which the Go test has as well. Networks use PyTorch's own convolutions and
transposed convolutions, padded and cut as Keras does for "same".
"""
import json
import math
import sys
import zlib

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)


def values(name, n):
    """n numbers in [0, 1) that depend on name alone."""
    i = np.arange(n, dtype=np.uint64)
    return ((zlib.crc32(name.encode()) + i * 2654435761) % 2**32) / 2**32


class Net:
    """Parameters by name, made on first use; norm buffers beside them."""

    def __init__(self, cfg):
        self.cfg, self.params, self.buffers = cfg, {}, {}

    def param(self, name, shape, fan):
        if name not in self.params:
            a = math.sqrt(6 / fan) if fan else 0.05
            v = (2 * values(name, int(np.prod(shape))) - 1) * a
            if name.endswith("weight") and "norm" in name:
                v = v + 1
            self.params[name] = torch.tensor(v.astype(np.float32)).reshape(shape).requires_grad_(True)
        return self.params[name]

    def conv(self, name, x, out, k, stride, pad):
        i = x.shape[1]
        w = self.param(name + ".weight", (out, i, k, k), k * k * (i + out))
        return F.conv2d(x, w, self.param(name + ".bias", (out,), 0), stride, pad)

    def convT(self, name, x, out, k, stride, pad):
        i = x.shape[1]
        w = self.param(name + ".weight", (i, out, k, k), k * k * (i + out))
        return F.conv_transpose2d(x, w, self.param(name + ".bias", (out,), 0), stride, pad)

    def same(self, name, x, out):
        return self.conv(name, F.pad(x, (0, 1, 0, 1)), out, 2, 1, 0)

    def sameT(self, name, x, out):
        return self.convT(name, x, out, 2, 1, 0)[:, :, :-1, :-1]

    def dense(self, name, x, out):
        i = x.shape[1]
        return F.linear(x, self.param(name + ".weight", (out, i), i + out), self.param(name + ".bias", (out,), 0))

    def norm(self, name, x, batch):
        if self.cfg["norm"] == "none":
            return x
        c = x.shape[1]
        w, b = self.param(name + ".weight", (c,), 0), self.param(name + ".bias", (c,), 0)
        mean, var = self.buffers.setdefault(name, (torch.zeros(c), torch.ones(c)))
        return F.batch_norm(x, mean, var, w, b, batch, 0.01, 1e-3)

    def trunk(self, g, x, batch):
        f = (32, 64, 128) if self.cfg["filters"] == "up" else (32, 32, 32)
        x = self.norm(g + ".norm1", F.max_pool2d(F.relu(self.same(g + ".conv1", x, f[0])), 2), batch)
        x = self.norm(g + ".norm2", F.max_pool2d(F.relu(self.same(g + ".conv2", x, f[1])), 2), batch)
        x = self.norm(g + ".norm3", F.relu(self.same(g + ".conv3", x, f[2])), batch)
        return x.flatten(1)

    def encode(self, g, x, batch=False):
        if self.cfg["size"] >= 64:
            act = lambda t: F.leaky_relu(t, 0.2)
            for name, out in (("conv1", 32), ("conv2", 32), ("conv3", 32)):
                x = act(self.conv(g + "." + name, x, out, 4, 2, 1))
            for name, out in (("conv4", 32), ("conv6", 64), ("conv7", 64), ("conv8", 32)):
                x = act(self.conv(g + "." + name, x, out, 3, 1, 1))
            return self.conv(g + ".latent", x, self.cfg["latent"], 8, 1, 0).flatten(1)
        return self.dense(g + ".latent", self.trunk(g, x, batch), self.cfg["latent"])

    def decode(self, z, batch=False):
        g, s = "decoder", self.cfg["size"] // 4
        if self.cfg["size"] >= 64:
            act = lambda t: F.leaky_relu(t, 0.2)
            x = act(self.convT(g + ".latent", z[:, :, None, None], 32, 8, 1, 0))
            for name, out in (("conv2", 64), ("conv3", 128), ("conv4", 64), ("conv6", 32)):
                x = act(self.conv(g + "." + name, x, out, 3, 1, 1))
            for name in ("conv7", "conv8"):
                x = act(self.convT(g + "." + name, x, 32, 4, 2, 1))
            return self.convT(g + ".conv9", x, 1, 4, 2, 1)
        f = (32, 64, 128) if self.cfg["filters"] == "up" else (32, 32, 32)
        up = lambda t: F.interpolate(t, scale_factor=2, mode="nearest")
        x = F.relu(self.dense(g + ".dense", z, f[2] * s * s)).reshape(-1, f[2], s, s)
        x = self.norm(g + ".norm1", up(F.relu(self.sameT(g + ".conv1", x, f[1]))), batch)
        x = self.norm(g + ".norm2", up(F.relu(self.sameT(g + ".conv2", x, f[0]))), batch)
        return self.sameT(g + ".conv3", x, 1)

    def latent_disc(self, z, noise):
        x = z
        for i, out in enumerate((64, 128, 256)):
            x = noise.dropout(F.leaky_relu(self.dense("latent_discriminator.dense%d" % (i + 1), x, out), 0.3), 0.3)
        return self.dense("latent_discriminator.dense4", x, 1)

    def head(self, q):
        return self.dense("discriminator_head.dense", q, 1)


class Noise:
    def __init__(self, step):
        self.step, self.calls = step, 0

    def draw(self, shape):
        self.calls += 1
        v = values("noise %d %d" % (self.step, self.calls), int(np.prod(shape)))
        return torch.tensor(v.astype(np.float32)).reshape(shape)

    def normal(self, shape):
        return (self.draw(shape) - 0.5) * 3.5

    def dropout(self, x, p):
        return x * (self.draw(x.shape) >= p).float() / (1 - p)


def clipped_bce(target, x):
    q = x.clamp(1e-7, 1 - 1e-7)
    return -(target * torch.log(q + 1e-7) + (1 - target) * torch.log(1 - q + 1e-7)).mean()


def objectives(net, x, noise):
    """(loss, parameter groups, learning rate) in the order of the optimisers."""
    cfg = net.cfg
    quirks, lr, adv = cfg["quirks"], cfg["lr"], cfg["lr_adversary"]
    batch = cfg["norm"] != "none"
    ones, zeros = torch.ones_like, torch.zeros_like

    def recon(logits):
        if cfg["loss"] == "bce":
            return F.binary_cross_entropy_with_logits(logits, x)
        return F.mse_loss(torch.sigmoid(logits), x)

    def feature(target, value):
        return clipped_bce(target, value) if cfg["loss"] == "bce" else F.mse_loss(value, target)

    def bce(target, logits):
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    arch = cfg["arch"]
    if arch == "ae":
        return [(recon(net.decode(net.encode("encoder", x))), ["encoder", "decoder"], lr)]
    if arch == "vae":
        h = F.relu(net.dense("encoder.hidden", net.trunk("encoder", x, False), 32))
        mean, logvar = net.dense("encoder.mean", h, cfg["latent"]), net.dense("encoder.log_variance", h, cfg["latent"])
        z = mean + torch.exp(logvar / 2) * noise.normal(mean.shape)
        kl = -0.5 * (1 + logvar - mean ** 2 - torch.exp(logvar)).sum(1).mean()
        return [(1024 * recon(net.decode(z)) + kl, ["encoder", "decoder"], lr)]
    if arch in ("aae", "ae-con"):
        z = net.encode("encoder", x, batch)
        logits = net.decode(z, batch)
        if batch:
            z = net.encode("encoder", x)
    else:
        logits = net.decode(net.encode("encoder", x))
    if arch == "aae":
        real = net.latent_disc(noise.normal(z.shape), noise)
        fake = net.latent_disc(z, noise)
        adversary = (lambda t, v: clipped_bce(torch.full_like(v, t), v)) if quirks else bce
        return [(recon(logits), ["encoder", "decoder"], lr),
                (adversary(1, real) + adversary(0, fake), ["latent_discriminator"], adv),
                (adversary(1, fake), ["encoder"], adv)]
    xhat = torch.sigmoid(logits)
    qx, qxhat = net.encode("discriminator", x, batch), net.encode("discriminator", xhat, batch)
    if arch == "ae-res":
        net.head(qx)
        adversary = (lambda t, v: clipped_bce(torch.full_like(v, t), v)) if quirks else (lambda t, v: bce(t, net.head(v)))
        return [(recon(logits), ["encoder", "decoder"], lr),
                (adversary(1, qx) + adversary(0, qxhat), ["discriminator", "discriminator_head"], adv),
                (adversary(1, qxhat), ["decoder"], adv)]
    again = net.encode("second_encoder", xhat)
    net.head(qx)
    if quirks:
        return [(recon(logits), ["encoder", "decoder"], lr),
                (50 * feature(qx, qxhat), ["discriminator"], adv),
                (feature(z, again), ["second_encoder"], lr)]
    generator = F.mse_loss(qxhat, qx) + 50 * F.l1_loss(xhat, x) + F.mse_loss(again, z)
    return [(generator, ["encoder", "decoder", "second_encoder"], lr),
            ((bce(1, net.head(qx)) + bce(0, net.head(qxhat))) / 2, ["discriminator", "discriminator_head"], adv)]


STEPS, BATCH, EVERY = 10, 12, 41


def train(cfg):
    net, adams, losses = Net(cfg), None, []
    for step in range(STEPS):
        n = BATCH * cfg["size"] ** 2
        x = torch.tensor(np.floor(values("images %d" % step, n) * 256).astype(np.float32) / np.float32(255))
        x = x.reshape(BATCH, 1, cfg["size"], cfg["size"])
        obj = objectives(net, x, Noise(step))
        if adams is None:
            adams = []
            for _, groups, lr in obj:
                ps = [p for n, p in net.params.items() if n.split(".")[0] in groups]
                adams.append(torch.optim.Adam(ps, lr=lr, eps=1e-7))
        grads = [torch.autograd.grad(o[0], a.param_groups[0]["params"], retain_graph=True, allow_unused=True)
                 for o, a in zip(obj, adams)]
        for a, gs in zip(adams, grads):
            for p, g in zip(a.param_groups[0]["params"], gs):
                p.grad = g
            a.step()
        losses.append([float("%.9g" % o[0].item()) for o in obj])
    weights = {n: [float("%.9g" % v) for v in p.detach().reshape(-1)[::EVERY].tolist()] for n, p in net.params.items()}
    for n, (mean, var) in net.buffers.items():
        weights[n + ".running_mean"] = [float("%.9g" % v) for v in mean[::EVERY].tolist()]
        weights[n + ".running_var"] = [float("%.9g" % v) for v in var[::EVERY].tolist()]
    return {"config": cfg, "losses": losses, "weights": weights}


cases = []
for arch in ("ae", "aae", "vae", "ae-res", "ae-con"):
    cases.append(dict(arch=arch, size=8, latent=4, filters="up", norm="none", loss="mse", quirks=False, lr=1e-3, lr_adversary=5e-4))
    cases.append(dict(arch=arch, size=8, latent=4, filters="const", norm="code", loss="bce", quirks=True, lr=1e-3, lr_adversary=5e-4))
cases.append(dict(arch="ae", size=64, latent=4, filters="up", norm="none", loss="mse", quirks=False, lr=1e-3, lr_adversary=5e-4))

json.dump({"torch": torch.__version__, "steps": STEPS, "batch": BATCH, "every": EVERY, "cases": [train(c) for c in cases]},
          sys.stdout, separators=(",", ":"))
print()
