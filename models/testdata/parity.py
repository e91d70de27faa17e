"""Makes parity.json: losses and weights of ten training steps of each model by
plain PyTorch, for the same start, images and noise as the Go test has.

Run with Debian 12's python3-torch (package 1.13.1, which calls itself 1.13.0a0):
/usr/bin/python3 parity.py > parity.json  (some minutes)

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

    def __init__(self, cfg, jitter):
        self.cfg, self.params, self.buffers, self.jitter = cfg, {}, {}, jitter

    def param(self, name, shape, fan):
        if name not in self.params:
            a = math.sqrt(6 / fan) if fan else 0.05
            v = (2 * values(name, int(np.prod(shape))) - 1) * a
            if name.endswith("weight") and "norm" in name:
                v = v + 1
            size, draw = self.jitter
            v = v * (1 + size * (2 * values("jitter %d %s" % (draw, name), v.size) - 1))
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

    def norm(self, name, x, code):
        """code: whether the authors' code takes the statistics of the batch here."""
        kind = self.cfg["norm"]
        if kind == "none":
            return x
        c = x.shape[1]
        w, b = self.param(name + ".weight", (c,), 0), self.param(name + ".bias", (c,), 0)
        mean, var = self.buffers.setdefault(name, (torch.zeros(c), torch.ones(c)))
        return F.batch_norm(x, mean, var, w, b, kind == "standard" or kind == "code" and code, 0.01, 1e-3)

    def act(self, x, slope):
        return F.relu(x) if self.cfg["activation"] == "relu" else F.leaky_relu(x, slope)

    def trunk(self, g, x, batch):
        if self.cfg["size"] >= 64:
            for name, out in (("conv1", 32), ("conv2", 32), ("conv3", 32)):
                x = self.act(self.conv(g + "." + name, x, out, 4, 2, 1), 0.2)
            x = self.act(self.conv(g + ".conv4", x, 32, 3, 1, 1), 0.2)
            if self.cfg["size"] == 128:
                x = self.act(self.conv(g + ".conv5", x, 64, 4, 2, 1), 0.2)
            for name, out in (("conv6", 64), ("conv7", 64), ("conv8", 32)):
                x = self.act(self.conv(g + "." + name, x, out, 3, 1, 1), 0.2)
            return x
        f = {"up": (32, 64, 128), "const": (32, 32, 32), "halving": (32, 16, 8)}[self.cfg["filters"]]
        x = self.norm(g + ".norm1", F.max_pool2d(F.relu(self.same(g + ".conv1", x, f[0])), 2), batch)
        x = self.norm(g + ".norm2", F.max_pool2d(F.relu(self.same(g + ".conv2", x, f[1])), 2), batch)
        x = self.norm(g + ".norm3", F.relu(self.same(g + ".conv3", x, f[2])), batch)
        return x.flatten(1)

    def encode(self, g, x, batch=False):
        x = self.trunk(g, x, batch)
        if self.cfg["size"] >= 64:
            return self.conv(g + ".latent", x, self.cfg["latent"], 8, 1, 0).flatten(1)
        return self.dense(g + ".latent", x, self.cfg["latent"])

    def features(self, x, batch):
        """q of the image discriminator."""
        if self.cfg["q_layer"] == "flat_conv":
            return self.trunk("discriminator", x, batch).flatten(1)
        return self.encode("discriminator", x, batch)

    def decode(self, z, batch=False):
        g, s = "decoder", self.cfg["size"] // 4
        if self.cfg["size"] >= 64:
            x = self.act(self.convT(g + ".latent", z[:, :, None, None], 32, 8, 1, 0), 0.2)
            for name, out in (("conv2", 64), ("conv3", 128), ("conv4", 64)):
                x = self.act(self.conv(g + "." + name, x, out, 3, 1, 1), 0.2)
            if self.cfg["size"] == 128:
                x = self.act(self.convT(g + ".conv5", x, 32, 4, 2, 1), 0.2)
            x = self.act(self.conv(g + ".conv6", x, 32, 3, 1, 1), 0.2)
            for name in ("conv7", "conv8"):
                x = self.act(self.convT(g + "." + name, x, 32, 4, 2, 1), 0.2)
            return self.convT(g + ".conv9", x, self.cfg["channels"], 4, 2, 1)
        f = {"up": (128, 64, 32), "const": (32, 32, 32), "halving": (32, 4, 4)}[self.cfg["filters"]]
        up = lambda t: F.interpolate(t, scale_factor=2, mode="nearest")
        x = F.relu(self.dense(g + ".dense", z, f[0] * s * s)).reshape(-1, f[0], s, s)
        x = self.norm(g + ".norm1", up(F.relu(self.sameT(g + ".conv1", x, f[1]))), batch)
        x = self.norm(g + ".norm2", up(F.relu(self.sameT(g + ".conv2", x, f[2]))), batch)
        return self.sameT(g + ".conv3", x, self.cfg["channels"])

    def latent_disc(self, z, noise):
        x = z
        for i, out in enumerate((64, 128, 256)):
            x = noise.dropout(self.act(self.dense("latent_discriminator.dense%d" % (i + 1), x, out), 0.3), 0.3)
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
    rate = lambda name: cfg[name] or cfg["lr"]

    def recon(logits, kind=cfg["loss"]):
        if kind == "bce":
            return F.binary_cross_entropy_with_logits(logits, x)
        return (F.l1_loss if kind == "l1" else F.mse_loss)(torch.sigmoid(logits), x)

    def feature(target, value):
        return clipped_bce(target, value) if cfg["loss"] == "bce" else F.mse_loss(value, target)

    def bce(target, logits):
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    arch, lr = cfg["arch"], cfg["lr"]
    if arch == "ae":
        return [(recon(net.decode(net.encode("encoder", x))), ["encoder", "decoder"], lr)]
    if arch == "vae":
        h = net.trunk("encoder", x, False)
        if cfg["size"] >= 64:
            h = net.conv("encoder.latent", h, cfg["latent"], 8, 1, 0).flatten(1)
        elif cfg["vae_latent"] == "pre_head":
            net.dense("encoder.latent", h, cfg["latent"])  # never trained
        h = F.relu(net.dense("encoder.hidden", h, cfg["vae_hidden"]))
        mean, logvar = net.dense("encoder.mean", h, cfg["latent"]), net.dense("encoder.log_variance", h, cfg["latent"])
        z = mean + torch.exp(logvar / 2) * noise.normal(mean.shape)
        kl = -0.5 * (1 + logvar - mean ** 2 - torch.exp(logvar)).sum(1).mean()
        return [(cfg["vae_recon_scale"] * recon(net.decode(z)) + kl, ["encoder", "decoder"], lr)]
    if arch in ("aae", "ae-con"):
        z = net.encode("encoder", x, True)
        logits = net.decode(z, True)
        if cfg["norm"] == "code":
            z = net.encode("encoder", x)
    else:
        logits = net.decode(net.encode("encoder", x))
    if arch == "aae":
        real = net.latent_disc(noise.normal(z.shape), noise)
        fake = net.latent_disc(z, noise)
        adversary = (lambda t, v: clipped_bce(torch.full_like(v, t), v)) if cfg["aae_clip_bug"] else bce
        return [(recon(logits), ["encoder", "decoder"], lr),
                (adversary(1, real) + adversary(0, fake), ["latent_discriminator"], rate("lr_discriminator")),
                (adversary(1, fake), ["encoder"], rate("lr_generator"))]
    xhat = torch.sigmoid(logits)
    qx, qxhat = net.features(x, True), net.features(xhat, True)
    discriminator = ["discriminator", "discriminator_head"]
    if arch == "ae-res":
        net.head(qx)
        adversary = lambda t, v: bce(t, net.head(v))
        if cfg["aeres_feature_bce"]:
            adversary = lambda t, v: clipped_bce(torch.full_like(v, t), v)
        return [(recon(logits), ["encoder", "decoder"], lr),
                (adversary(1, qx) + adversary(0, qxhat), discriminator, rate("lr_discriminator")),
                (adversary(1, qxhat), ["encoder", "decoder"] if cfg["generator_all"] else ["decoder"], rate("lr_generator"))]
    again = net.encode("second_encoder", xhat)
    real, fake = net.head(qx), net.head(qxhat)
    if cfg["aecon_losses"] == "code-2021":
        return [(recon(logits), ["encoder", "decoder"], lr),
                (50 * feature(qx, qxhat), ["discriminator"], rate("lr_discriminator")),
                (feature(z, again), ["second_encoder"], rate("lr_second"))]
    if cfg["aecon_losses"] == "head-2022":
        return [(50 * recon(logits) + bce(1, fake) + feature(z, again), ["encoder", "decoder"], lr),
                (bce(1, real) + bce(0, fake), discriminator, rate("lr_discriminator")),
                (feature(z, again), ["second_encoder"], rate("lr_second"))]
    generator = F.mse_loss(qxhat, qx) + 50 * recon(logits, cfg["aecon_recon"]) + F.mse_loss(again, z)
    return [(generator, ["encoder", "decoder", "second_encoder"], lr),
            ((bce(1, real) + bce(0, fake)) / 2, discriminator, rate("lr_discriminator"))]


def frozen(cfg):
    """Parameters that are there and not trained."""
    pre_head = cfg["arch"] == "vae" and cfg["vae_latent"] == "pre_head" and cfg["size"] < 64
    return ("encoder.latent.weight", "encoder.latent.bias") if pre_head else ()


STEPS, BATCH, EVERY = 10, 12, 197


def rounded(g, step, n, rounding):
    """A gradient of a convolution's kernel whose values are changed by up to `size`
    half units in the last place of the largest, as another way to sum them may.
    That includes those that are 0 since nothing met in any place."""
    size, draw = rounding
    if g is None or g.dim() != 4 or size == 0:
        return g
    v = 2 * values("rounding %d %d %d" % (draw, step, n), g.numel()) - 1
    return g + size * 2 ** -24 * g.abs().max() * torch.tensor(v.astype(np.float32)).reshape(g.shape)


def train(cfg, jitter=(0, 0), rounding=(0, 0)):
    net, adams, losses = Net(cfg, jitter), None, []
    for step in range(STEPS):
        n = BATCH * cfg["channels"] * cfg["size"] ** 2
        x = torch.tensor(np.floor(values("images %d" % step, n) * 256).astype(np.float32) / np.float32(255))
        x = x.reshape(BATCH, cfg["channels"], cfg["size"], cfg["size"])
        obj = objectives(net, x, Noise(step))
        if adams is None:
            adams = []
            for _, groups, lr in obj:
                ps = [p for n, p in net.params.items() if n.split(".")[0] in groups and n not in frozen(cfg)]
                adams.append(torch.optim.Adam(ps, lr=lr, eps=1e-7))
        grads = [torch.autograd.grad(o[0], a.param_groups[0]["params"], retain_graph=True, allow_unused=True)
                 for o, a in zip(obj, adams)]
        for a, gs in zip(adams, grads):
            for n, (p, g) in enumerate(zip(a.param_groups[0]["params"], gs)):
                p.grad = rounded(g, step, n, rounding)
            a.step()
        losses.append([float("%.9g" % o[0].item()) for o in obj])
    weights = {n: [float("%.9g" % v) for v in p.detach().reshape(-1)[::EVERY].tolist()] for n, p in net.params.items()}
    for n, (mean, var) in net.buffers.items():
        weights[n + ".running_mean"] = [float("%.9g" % v) for v in mean[::EVERY].tolist()]
        weights[n + ".running_var"] = [float("%.9g" % v) for v in var[::EVERY].tolist()]
    return {"config": cfg, "losses": losses, "weights": weights}


def case(cfg):
    """The training, and by how much PyTorch itself ends elsewhere when each value
    of the start is changed by up to 1, 4 or 16 units in the last place, and when
    gradients are rounded otherwise, which is tried in several ways: the largest
    difference of a loss in each step, and of a weight, for the autoencoder (the
    first loss) and for the rest."""
    c = train(cfg)
    draws = 8 if cfg["size"] == 8 else 1
    others = [train(cfg, (u * 2 ** -23, draw)) for draw in range(draws) for u in (-16, -4, -1, 1, 4, 16)]
    others += [train(cfg, rounding=(u, draw)) for draw in range(min(draws, 2)) for u in (1, 4)]
    two = lambda v: float("%.2g" % v)
    worst = lambda i, js: two(max([abs(c["losses"][i][j] - o["losses"][i][j]) for o in others for j in js], default=0))
    n = len(c["losses"][0])
    c["loss_spread"] = [[worst(i, [0]), worst(i, range(1, n))] for i in range(STEPS)]
    c["weight_spread"] = [0, 0]
    for name, w in c["weights"].items():
        rest = name.split(".")[0] not in ("encoder", "decoder")
        d = max(abs(x - y) for o in others for x, y in zip(w, o["weights"][name]))
        c["weight_spread"][rest] = max(c["weight_spread"][rest], two(d))
    return c


# Settings have the names of models.Config.
paper = dict(size=8, channels=1, latent=4, filters="up", norm="none", activation="leaky", loss="mse", q_layer="latent",
             vae_latent="mu", vae_hidden=32, vae_recon_scale=1024, aae_clip_bug=False, aeres_feature_bce=False,
             generator_all=False, aecon_losses="ganomaly", aecon_recon="l1",
             lr=1e-3, lr_discriminator=5e-4, lr_generator=5e-4, lr_second=0)
code = dict(paper, filters="const", norm="code", loss="bce", vae_latent="pre_head", aae_clip_bug=True,
            aeres_feature_bce=True, aecon_losses="code-2021")
cases = []
for arch in ("ae", "aae", "vae", "ae-res", "ae-con"):
    cases.append(dict(paper, arch=arch))
    cases.append(dict(code, arch=arch))
cases += [
    dict(paper, arch="ae", size=64),
    dict(paper, arch="vae", size=64, activation="relu", vae_hidden=8, vae_recon_scale=100),
    dict(paper, arch="ae", filters="halving", norm="standard", loss="l1"),
    dict(paper, arch="aae", filters="halving", norm="affine", activation="relu", lr_generator=2e-4),
    dict(paper, arch="ae-res", q_layer="flat_conv", norm="affine", lr_discriminator=0),
    dict(paper, arch="ae-con", q_layer="flat_conv", norm="standard", aecon_recon="mse"),
    dict(paper, arch="ae-con", aecon_losses="head-2022", filters="const", norm="affine", lr_second=3e-4),
    dict(paper, arch="ae", size=128, channels=3),
    dict(paper, arch="ae-con", channels=3, aecon_losses="code-2021"),
    dict(paper, arch="ae-res", size=64, channels=3, loss="bce", generator_all=True),
    dict(paper, arch="ae", size=28, latent=32, lr=1e-4),
]

json.dump({"torch": torch.__version__, "steps": STEPS, "batch": BATCH, "every": EVERY, "cases": [case(c) for c in cases]},
          sys.stdout, separators=(",", ":"))
print()
