"""Nearest neighbours by FAISS (exact and HNSW) and by scikit-learn's ball tree."""
import os

import numpy as np

from worker import BATCH, FEW, Cycle

NEIGHBOURS = 5  # of each query in the answer, as in bench/workload


def hnsw(vectors, file):
    """A graph over the vectors, kept in a file because building it takes long."""
    import faiss

    if os.path.exists(file):
        return faiss.read_index(file)
    x = faiss.IndexHNSWFlat(vectors.shape[1], 16)
    x.add(vectors)
    faiss.write_index(x, file + ".new")
    os.rename(file + ".new", file)
    return x


def index(variant, vectors, threads, folder=None):
    """A function that finds the k nearest: (distances, ids), nearest first."""
    if variant == "balltree":
        import sklearn.neighbors

        tree = sklearn.neighbors.NearestNeighbors(algorithm="ball_tree", n_jobs=threads).fit(vectors)
        return lambda q, k: tree.kneighbors(q, k)
    import faiss

    faiss.omp_set_num_threads(threads)
    if variant == "hnsw":
        x = hnsw(vectors, os.path.join(folder, "hnsw.index"))
        x.hnsw.efSearch = 64
    else:
        x = faiss.IndexFlatL2(vectors.shape[1])
        x.add(vectors)

    def search(q, k):
        d, ids = x.search(q, k)
        return np.sqrt(np.maximum(d, 0)), ids

    return search


def prepare(args, meta):
    def read(name):
        return np.fromfile(os.path.join(args.dir, name), np.float32).reshape(-1, meta["latent"])

    search = index(args.variant, read("latents.f32"), args.threads, args.dir)
    batch = FEW if args.variant == "balltree" else BATCH
    vectors = read("query-latents.f32")
    queries = Cycle(vectors)
    asked = vectors[:FEW] if args.variant == "balltree" else vectors
    answer = {"ids": search(asked, NEIGHBOURS)[1].tolist()}

    def work(request):
        q = queries.next(batch)
        if request["mode"] != "single":
            search(q, request["k"])
            return batch
        calls = batch // 16
        for i in range(calls):
            search(q[i : i + 1], request["k"])
        return calls

    return answer, work
