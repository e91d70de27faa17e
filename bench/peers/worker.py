"""A worker of the other side: the same work as bench/ours, by PyTorch, FAISS and
scikit-learn. See bench/workload for what is read, written and said.

Usage: worker.py TASK VARIANT --dir DIR --answer FILE --threads N
       worker.py versions

  train   eager, tuned
  search  flat, hnsw, balltree
  score   authors, decode, cached
"""
import argparse
import json
import os
import sys
import time

BATCH = 1024  # images or queries a call, on all sides
FEW = 256  # for ways so slow that more would take minutes; what each costs does not depend on it


class Cycle:
    """Batches of rows one after the other, from the beginning again after the last."""

    def __init__(self, rows):
        self.rows, self.at = rows, 0

    def next(self, n):
        if self.at + n > len(self.rows):
            self.at = 0
        self.at += n
        return self.rows[self.at - n : self.at]


def serve(work):
    """Answers requests; work(request) makes one call and returns its units."""
    print(json.dumps({"units": 0, "seconds": 0}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        units, start, seconds = 0, time.perf_counter(), 0
        while units == 0 or seconds < request["seconds"]:
            units += work(request)
            seconds = time.perf_counter() - start
        print(json.dumps({"units": units, "seconds": seconds}), flush=True)


def versions():
    import faiss, numpy, sklearn, torch

    names = {"python": sys.version.split()[0], "torch": torch.__version__, "faiss": faiss.__version__,
             "sklearn": sklearn.__version__, "numpy": numpy.__version__}
    print(json.dumps(names))


def main():
    if sys.argv[1:] == ["versions"]:
        return versions()
    p = argparse.ArgumentParser()
    p.add_argument("task", choices=("train", "search", "score"))
    p.add_argument("variant")
    p.add_argument("--dir", required=True)
    p.add_argument("--answer", required=True)
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if args.variant in ("tuned", "decode", "cached", "flat", "hnsw"):
        # OpenBLAS does not know recent AMD processors: name the kernels that suit.
        if "avx512vl" in open("/proc/cpuinfo").read():
            os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    with open(os.path.join(args.dir, "meta.json")) as f:
        meta = json.load(f)
    # Imported now, since the libraries read the environment when they are loaded.
    if args.task == "train":
        import train as task
    elif args.task == "search":
        import search as task
    else:
        import score as task
    answer, work = task.prepare(args, meta)
    with open(args.answer, "w") as f:
        json.dump(answer, f)
    serve(work)


if __name__ == "__main__":
    main()
