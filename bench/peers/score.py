"""Novelty scores: plain reconstruction error, error term and distance term.

  authors  eager PyTorch, ball tree, all K neighbours of each image decoded
           anew, errors in NumPy: as the authors' code does it
  decode   tuned PyTorch and FAISS, neighbours decoded anew
  cached   the same with the reconstructions of all indexed images kept
"""
import os

import numpy as np
import torch

import nets
import search
from worker import BATCH, FEW, Cycle

CHUNK = 256  # images through a tuned network at a time: their maps stay near the processor


class Authors:
    def __init__(self, args, meta):
        self.shape = tuple(meta["shape"])
        self.net = nets.load(args.dir, meta, tuned=False)
        self.latents = np.fromfile(os.path.join(args.dir, "latents.f32"), np.float32).reshape(-1, meta["latent"])
        self.neighbours = search.index("balltree", self.latents, args.threads)

    def decode(self, z):
        return torch.sigmoid(self.net.decode(torch.from_numpy(z))).numpy()

    def score(self, x, k):
        with torch.no_grad():
            z = self.net.encode(torch.from_numpy(x)).numpy()
            distances, ids = self.neighbours(z, k)
            recon = np.abs(x - self.decode(z)).mean(axis=(1, 2, 3))
            near = self.decode(self.latents[ids.reshape(-1)]).reshape(-1, k, *self.shape)
        return recon, np.abs(x[:, None] - near).mean(axis=(1, 2, 3, 4)), distances.mean(axis=1)


class Tuned:
    def __init__(self, args, meta):
        nets.keep_freed_memory()
        torch.set_flush_denormal(True)
        self.net = nets.load(args.dir, meta, tuned=True)
        latents = np.fromfile(os.path.join(args.dir, "latents.f32"), np.float32).reshape(-1, meta["latent"])
        self.neighbours = search.index("flat", latents, args.threads)
        self.latents, self.cache = torch.from_numpy(latents), None
        if args.variant == "cached":
            self.cache = self.reconstructions(os.path.join(args.dir, "reconstructions.npy"))

    def reconstructions(self, file):
        """Those of all indexed images, kept in a file because decoding takes long."""
        if not os.path.exists(file):
            np.save(file[:-4] + ".new.npy", self.decode(self.latents).numpy())
            os.rename(file[:-4] + ".new.npy", file)
        return torch.from_numpy(np.load(file))

    def decode(self, z):
        with torch.inference_mode():
            return torch.cat([torch.sigmoid_(self.net.decode(part)).contiguous() for part in z.split(CHUNK)])

    def score(self, x, k):
        with torch.inference_mode():
            x = torch.from_numpy(x)
            z = torch.cat([self.net.encode(part) for part in x.split(CHUNK)])
            distances, ids = self.neighbours(z.numpy(), k)
            recon = (x - self.decode(z)).abs_().mean((1, 2, 3))
            error = torch.zeros(len(x))
            for j in range(k):
                i = torch.from_numpy(ids[:, j])
                near = self.cache[i] if self.cache is not None else self.decode(self.latents[i])
                error += near.sub_(x).abs_().mean((1, 2, 3))
        return recon.numpy(), (error / k).numpy(), distances.mean(axis=1)


def prepare(args, meta):
    torch.set_num_threads(args.threads)
    scorer = (Authors if args.variant == "authors" else Tuned)(args, meta)
    images = np.fromfile(os.path.join(args.dir, "queries.f32"), np.float32).reshape(-1, *meta["shape"])
    queries = Cycle(images)
    batch = FEW if args.variant == "authors" else BATCH
    terms = {}
    for k in (1, 3, 5):
        values = scorer.score(images[:batch], k)
        terms[str(k)] = dict(zip(("recon", "error", "distance"), [v.tolist() for v in values]))

    def work(request):
        scorer.score(queries.next(batch), request["k"])
        return batch

    return {"terms": terms}, work
