"""Training steps by PyTorch: eager as installed, or tuned."""
import os

import numpy as np
import torch

import nets

ANSWER_IMAGES, ANSWER_STEPS = 64, 3  # as in bench/workload


def prepare(args, meta):
    tuned = args.variant == "tuned"
    torch.set_num_threads(args.threads)
    if tuned:
        nets.keep_freed_memory()
        torch.set_flush_denormal(True)
    images = torch.from_numpy(np.fromfile(os.path.join(args.dir, "train.f32"), np.float32)).reshape(-1, *meta["shape"])

    def trainer():
        net = nets.load(args.dir, meta, tuned)
        adam = torch.optim.Adam([p for p in net.parameters()], lr=meta["lr"], eps=1e-7)  # Keras's eps

        def step(x):
            value = nets.loss(meta, net.decode(net.encode(x)), x)
            adam.zero_grad(set_to_none=True)
            value.backward()
            adam.step()
            return value.item()

        return step

    step = trainer()
    answer = {"losses": [step(images[:ANSWER_IMAGES]) for _ in range(ANSWER_STEPS)]}

    def orders():
        while True:
            order = torch.randperm(len(images))
            for lo in range(0, len(order) - meta["batch"] + 1, meta["batch"]):
                yield order[lo : lo + meta["batch"]]

    batches = orders()

    def work(_):
        step(images[next(batches)])
        return meta["batch"]

    work(None)
    return answer, work
