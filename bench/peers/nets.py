"""The networks of models/small.go in PyTorch, with the weights of a folder that
bench/ours prepared: Eager as one writes them, Tuned as fast as we could make
them in plain PyTorch.
"""
import ctypes
import json
import os

import torch
import torch.nn as nn
import torch.nn.functional as F

EPS = 1e-3  # of batch normalisation, Keras's


def keep_freed_memory():
    """Tells glibc to keep freed blocks instead of unmapping them."""
    libc = ctypes.CDLL("libc.so.6")
    for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 64 << 20), (-8, 1)):  # MMAP_MAX, TRIM_THRESHOLD, TOP_PAD, ARENA_MAX
        libc.mallopt(option, value)


def read_weights(path):
    """The tensors of a safetensors file, by name."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = bytearray(f.read())
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            lo, hi = entry["data_offsets"]
            tensors[name] = torch.frombuffer(data[lo:hi], dtype=torch.float32).reshape(entry["shape"]).clone()
    return tensors


def load(folder, meta, tuned):
    net = (Tuned if tuned else Eager)(meta)
    net.read(read_weights(os.path.join(folder, "weights.safetensors")))
    return net


def loss(meta, logits, x):
    if meta["loss"] == "bce":
        return F.binary_cross_entropy_with_logits(logits, x)
    return F.mse_loss(torch.sigmoid(logits), x)


class Encoder(nn.Module):
    def __init__(self, meta):
        super().__init__()
        f, (c, h, w) = meta["filters"], meta["shape"]
        self.conv1 = nn.Conv2d(c, f[0], 2, padding="same")
        self.conv2 = nn.Conv2d(f[0], f[1], 2, padding="same")
        self.conv3 = nn.Conv2d(f[1], f[2], 2, padding="same")
        for i in range(3):
            setattr(self, "norm%d" % (i + 1), nn.BatchNorm2d(f[i], EPS) if meta["norm"] else nn.Identity())
        self.pool = nn.MaxPool2d(2)
        self.latent = nn.Linear(f[2] * (h // 4) * (w // 4), meta["latent"])

    def forward(self, x):
        x = self.norm1(self.pool(F.relu(self.conv1(x))))
        x = self.norm2(self.pool(F.relu(self.conv2(x))))
        x = self.norm3(F.relu(self.conv3(x)))
        return self.latent(x.flatten(1))


class Decoder(nn.Module):
    def __init__(self, meta):
        super().__init__()
        f, (c, h, w) = meta["filters"], meta["shape"]
        self.start = (-1, f[2], h // 4, w // 4)
        self.dense = nn.Linear(meta["latent"], f[2] * (h // 4) * (w // 4))
        self.conv1 = nn.ConvTranspose2d(f[2], f[1], 2)
        self.conv2 = nn.ConvTranspose2d(f[1], f[0], 2)
        self.conv3 = nn.ConvTranspose2d(f[0], c, 2)
        for i in range(2):
            setattr(self, "norm%d" % (i + 1), nn.BatchNorm2d(f[1 - i], EPS) if meta["norm"] else nn.Identity())
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, z):
        x = F.relu(self.dense(z)).reshape(self.start)
        x = self.norm1(self.up(F.relu(self.conv1(x)[:, :, :-1, :-1])))
        x = self.norm2(self.up(F.relu(self.conv2(x)[:, :, :-1, :-1])))
        return self.conv3(x)[:, :, :-1, :-1]


class Eager(nn.Module):
    """Modules as one writes them. decode gives logits."""

    def __init__(self, meta):
        super().__init__()
        self.encoder, self.decoder = Encoder(meta), Decoder(meta)
        # The authors' code trains the plain autoencoder without batch statistics.
        self.eval()

    def read(self, weights):
        missing, unknown = self.load_state_dict(weights, strict=False)
        missing = [m for m in missing if not m.endswith("num_batches_tracked")]
        assert not missing and not unknown, (missing, unknown)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


class Tuned(nn.Module):
    """The same values: convolutions in channels_last, transposed ones as padded
    convolutions with turned kernels, ReLU in place."""

    def __init__(self, meta):
        super().__init__()
        f, (_, h, w) = meta["filters"], meta["shape"]
        self.start, self.norm = (-1, f[2], h // 4, w // 4), meta["norm"]

    def read(self, weights):
        self.w = nn.ParameterDict()
        self.statistics = {}
        for name, t in weights.items():
            group, layer, kind = name.split(".")
            if group == "decoder" and layer.startswith("conv") and kind == "weight":
                t = t.permute(1, 0, 2, 3).flip(2, 3)
            if t.dim() == 4:  # .contiguous would do nothing for one channel
                t = t.to(t.dtype, copy=True, memory_format=torch.channels_last)
            if kind.startswith("running"):
                self.statistics[name] = t
            else:
                self.w[name.replace(".", "_")] = nn.Parameter(t)

    def conv(self, name, x, before, after):
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x, self.w[name + "_weight"], self.w[name + "_bias"])

    def scale(self, group, layer, x):
        if not self.norm:
            return x
        s, name = self.statistics, group + "." + layer
        w = group + "_" + layer
        return F.batch_norm(x, s[name + ".running_mean"], s[name + ".running_var"], self.w[w + "_weight"], self.w[w + "_bias"], False, 0, EPS)

    def encode(self, x):
        for i in (1, 2, 3):
            x = torch.relu_(self.conv("encoder_conv%d" % i, x, 0, 1))
            x = self.scale("encoder", "norm%d" % i, F.max_pool2d(x, 2) if i < 3 else x)
        return F.linear(x.flatten(1), self.w["encoder_latent_weight"], self.w["encoder_latent_bias"])

    def decode(self, z):
        x = torch.relu_(F.linear(z, self.w["decoder_dense_weight"], self.w["decoder_dense_bias"])).reshape(self.start)
        for i in (1, 2):
            x = F.interpolate(torch.relu_(self.conv("decoder_conv%d" % i, x, 1, 0)), scale_factor=2)
            x = self.scale("decoder", "norm%d" % i, x)
        return self.conv("decoder_conv3", x, 1, 0)
