"""Scores one image with a folder's bundle, from nothing: what `nlnctl score`
does, by PyTorch and FAISS with the reconstructions kept beside the index.

Usage: start.py DIR THREADS, or start.py - THREADS to load the libraries alone.
"""
import argparse
import json
import os
import sys

import numpy as np
import torch
import faiss

import score

if sys.argv[1] != "-":
    folder, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    with open(os.path.join(folder, "meta.json")) as f:
        meta = json.load(f)
    scorer = score.Tuned(argparse.Namespace(dir=folder, threads=threads, variant="decode"), meta)
    image = np.fromfile(os.path.join(folder, "queries.f32"), np.float32, count=int(np.prod(meta["shape"])))
    print([v.tolist() for v in scorer.score(image.reshape(1, *meta["shape"]), 3)])
