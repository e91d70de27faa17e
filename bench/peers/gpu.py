"""The same work on a CUDA device by PyTorch: needs nothing but torch. Prints one JSON
object for each line of standard input, a request such as

  {"task": "train", "filters": [32, 64, 128], "shape": [1, 28, 28], "latent": 32,
   "batch": 128, "seconds": 1}

  train   eager: images already on the device, shuffled there, modules as one writes
          them, Adam as installed; "fused": true takes PyTorch's fused Adam, "compile":
          true torch.compile with CUDA graphs
  score   the images' bytes from pinned memory; encode, exact search by a product and
          topk, error against kept reconstructions, plain reconstruction error
  search  the same search alone, of queries that are on the device
"""
import argparse
import json
import sys
import time

import torch

import nets


def measure(step, seconds, units):
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    done, start = 0, time.perf_counter()
    while True:
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        done += 10
        took = time.perf_counter() - start
        if took >= seconds:
            return {"units": done * units, "seconds": took}


def net_of(r):
    torch.manual_seed(0)
    meta = {"filters": r["filters"], "shape": r["shape"], "latent": r["latent"], "norm": False, "loss": "bce"}
    return meta, nets.Eager(meta).cuda()


def train(r):
    meta, net = net_of(r)
    images = torch.rand(16384, *r["shape"], device="cuda")
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7, fused=r.get("fused", False) or None)

    def objective(x):
        return nets.loss(meta, net.decode(net.encode(x)), x)

    if r.get("compile"):
        objective = torch.compile(objective, mode="reduce-overhead")
    order, at = torch.randperm(len(images), device="cuda"), 0

    def step():
        nonlocal order, at
        if at + r["batch"] > len(order):
            order, at = torch.randperm(len(images), device="cuda"), 0
        x = images[order[at : at + r["batch"]]]
        at += r["batch"]
        adam.zero_grad(set_to_none=True)
        objective(x).backward()
        adam.step()

    return measure(step, r["seconds"], r["batch"])


def nearest(vectors, squares, q, k):
    return torch.topk(torch.addmm(squares, q, vectors.t(), alpha=-2), k, dim=1, largest=False)


def score(r):
    _, net = net_of(r)
    n, k = r["entries"], r["k"]
    vectors = torch.randn(n, r["latent"], device="cuda")
    squares = vectors.square().sum(1)
    kept = torch.rand(n, *r["shape"], device="cuda")
    batch = torch.randint(0, 256, (r["batch"], *r["shape"]), dtype=torch.uint8).pin_memory()

    @torch.inference_mode()
    def step():
        x = batch.to("cuda", non_blocking=True).float() / 255
        z = net.encode(x)
        near = nearest(vectors, squares, z, k)
        distance = (near.values + z.square().sum(1, keepdim=True)).clamp_min(0).sqrt().mean(1)
        recon = (x - torch.sigmoid(net.decode(z))).abs().mean((1, 2, 3))
        error = (kept[near.indices] - x[:, None]).abs().mean((1, 2, 3, 4))
        torch.stack((recon, error, distance)).cpu()

    return measure(step, r["seconds"], r["batch"])


def search(r):
    vectors = torch.randn(r["entries"], r["latent"], device="cuda")
    squares, q = vectors.square().sum(1), torch.randn(r["batch"], r["latent"], device="cuda")
    block = max(1, min(r["batch"], (1 << 30) // (4 * r["entries"])))  # products of 1 GiB at a time

    @torch.inference_mode()
    def step():
        for part in q.split(block):
            nearest(vectors, squares, part, r["k"])

    return measure(step, r["seconds"], r["batch"])


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.backends.cudnn.allow_tf32 = False  # float32 on both sides
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"train": train, "score": score, "search": search}[request["task"]](request)
        except Exception as e:  # one request that does not fit leaves the others alone
            answer = {"error": "%s: %s" % (type(e).__name__, e)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
