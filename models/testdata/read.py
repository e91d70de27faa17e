"""Reads a bundle's weights with PyTorch and encodes images with them.

Usage: read.py WEIGHTS IMAGES N, where IMAGES holds N 28x28 images as raw
float32. Prints the latents, a row for each image.
"""
import json
import sys

import torch
import torch.nn.functional as F

# The three lines of docs/format/bundle.md, for a PyTorch without the safetensors package.
b = open(sys.argv[1], "rb").read(); n = int.from_bytes(b[:8], "little"); h = json.loads(b[8:8 + n])
w = {k: torch.frombuffer(bytearray(b[8 + n:][slice(*v["data_offsets"])]), dtype=torch.float32).reshape(v["shape"])
     for k, v in h.items() if k != "__metadata__"}


def conv(name, x):
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), w["encoder." + name + ".weight"], w["encoder." + name + ".bias"])
    return F.relu(x)


x = torch.frombuffer(bytearray(open(sys.argv[2], "rb").read()), dtype=torch.float32).reshape(int(sys.argv[3]), 1, 28, 28)
x = F.max_pool2d(conv("conv1", x), 2)
x = F.max_pool2d(conv("conv2", x), 2)
z = F.linear(conv("conv3", x).flatten(1), w["encoder.latent.weight"], w["encoder.latent.bias"])
json.dump(z.tolist(), sys.stdout)
