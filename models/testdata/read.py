"""Reads the weights of bundles with PyTorch and encodes images with them.

Usage: read.py WEIGHTS IMAGES [WEIGHTS IMAGES ...], where IMAGES holds images as
raw float32. Prints the latents, a row for each image, a list for each bundle.
"""
import json
import sys

import torch
import torch.nn.functional as F


def read(path):
    # The three lines of docs/format/bundle.md, for a PyTorch without the safetensors package.
    b = open(path, "rb").read(); n = int.from_bytes(b[:8], "little"); h = json.loads(b[8:8 + n])
    w = {k: torch.frombuffer(bytearray(b[8 + n:][slice(*v["data_offsets"])]), dtype=torch.float32).reshape(v["shape"])
         for k, v in h.items() if k != "__metadata__"}
    return w, json.loads(h["__metadata__"]["nlnctl.config"])


def latents(w, config, x):
    """f(x), of a VAE the mean; the first of several views."""
    def conv(name, x, stride=1, padding=0):
        return F.conv2d(x, w["encoder." + name + ".weight"], w["encoder." + name + ".bias"], stride, padding)

    def dense(name, x):
        return F.linear(x, w["encoder." + name + ".weight"], w["encoder." + name + ".bias"])

    def norm(name, x):
        if "encoder." + name + ".weight" not in w:
            return x
        p = {k: w["encoder." + name + "." + k] for k in ("running_mean", "running_var", "weight", "bias")}
        return F.batch_norm(x, **p, eps=1e-3)

    def same(name, x):
        return F.relu(conv(name, F.pad(x, (0, 1, 0, 1))))

    if "encoder.conv4.weight" in w:  # for patches
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7", "conv8"):
            if "encoder." + name + ".weight" in w:
                stride = 2 if name in ("conv1", "conv2", "conv3", "conv5") else 1
                x = F.leaky_relu(conv(name, x, stride, 1), 0.2)
        x = conv("latent", x).flatten(1)
    else:
        x = norm("norm1", F.max_pool2d(same("conv1", x), 2))
        x = norm("norm2", F.max_pool2d(same("conv2", x), 2))
        x = norm("norm3", same("conv3", x)).flatten(1)
        if config["arch"] != "vae":
            x = dense("latent", x)
    if config["arch"] == "vae":
        x = dense("mean", F.relu(dense("hidden", x)))
    return x


all = []
for weights, images in zip(sys.argv[1::2], sys.argv[2::2]):
    w, config = read(weights)
    x = torch.frombuffer(bytearray(open(images, "rb").read()), dtype=torch.float32)
    shape = config["shape"]
    all.append(latents(w, config, x.reshape(-1, shape["C"], shape["H"], shape["W"])).tolist())
json.dump(all, sys.stdout)
