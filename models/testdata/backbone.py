"""Makes backbone.pt, a small network as users bring them, and backbone.json, what
PyTorch makes of some images by it.

Run with Debian 12's python3-torch (package 1.13.1, which calls itself 1.13.0a0):
/usr/bin/python3 backbone.py

Nothing is drawn at random: weights and images come from values(), which the Go
test has as well. The batch normalisation and the dropout show whether the network
is evaluated or trained; the resize and the normalisation are inside, as they
should be.
"""
import json
import zlib

import numpy as np
import torch
import torch.nn as nn

torch.set_num_threads(1)


def values(name, shape):
    """Numbers in [0, 1) that depend on name alone."""
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    v = ((zlib.crc32(name.encode()) + i * 2654435761) % 2**32) / 2**32
    return torch.tensor(v.astype(np.float32)).reshape(shape)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # As F.interpolate and F.adaptive_avg_pool2d do, whose code would be half of the file.
        x = torch.ops.aten.upsample_bilinear2d(x, [16, 16], False)
        x = (x - self.mean) / self.std
        x = self.dropout(torch.relu(self.norm(self.conv1(x))))
        return torch.ops.aten.adaptive_avg_pool2d(self.conv2(x), [2, 2])  # (N, 6, 2, 2): 24 features


net = Backbone()
with torch.no_grad():
    for name, p in list(net.named_parameters()) + [(n, b) for n, b in net.named_buffers() if "running" in n]:
        p.copy_(values(name, p.shape) + (0.5 if name.endswith("var") else -0.5))
# In training mode on purpose: whoever loads it must switch to evaluation.
torch.jit.script(net.train()).save("backbone.pt")

cases = []
for shape in [(5, 3, 12, 12), (3, 1, 28, 28)]:
    x = values("images %d" % shape[1], shape)
    with torch.no_grad():
        y = net.eval()(x.expand(-1, 3, -1, -1)).flatten(1)
    cases.append({"shape": shape, "features": [[float("%.9g" % v) for v in row] for row in y.tolist()]})
with open("backbone.json", "w") as f:
    json.dump(cases, f, indent=1)
    f.write("\n")
