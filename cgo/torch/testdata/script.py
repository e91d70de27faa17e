"""Makes script.pt, a TorchScript network that does what its first value asks for.

Run with Debian 12's python3-torch (1.13.1):  /usr/bin/python3 script.py

The numbers of the cases are those of script_test.go.
"""
from typing import Any

import torch


class Script(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
        self.register_buffer("calls", torch.zeros(1, 1))

    def forward(self, x: torch.Tensor) -> Any:  # x (N, 2), of which x[0, 0] is the case
        case = int(x[0, 0].item())
        if case == 0:
            return x.matmul(self.weight).reshape(-1, 2, 1, 1)
        if case == 1:
            return (x, x)
        if case == 2:
            return x[1:]
        if case == 3:
            return x / torch.zeros_like(x)
        if case == 4:
            raise ValueError("no such thing")
        if case == 5:
            return x.matmul(x.reshape(1, -1))
        if case == 6:
            return x.sum()
        if case == 7:
            return x[:, 2:]
        if case == 8:
            return (x.double() + 0.5).t().contiguous().t()
        if case == 9:
            return torch.zeros([1 << 46], dtype=torch.float32)
        if case == 10:
            return x.to(torch.complex64)
        if case == 11:
            self.calls += 1
            return self.calls
        if case == 12:
            return torch.zeros_like(x) + float(self.training)
        if case == 13:
            return x
        if case == 14:
            return x > 0
        return None


torch.jit.script(Script()).save("script.pt")
