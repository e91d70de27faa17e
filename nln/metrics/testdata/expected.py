"""Writes expected.json, the expected numbers of TestAgainstSklearn.

Ran with Python 3.11.2, scikit-learn 1.2.1, numpy 1.24.2, scipy 1.10.1:

    python3 expected.py > expected.json

The DeLong numbers come from the definition, comparing all pairs.
"""
import json
import math
import sys

import numpy as np

from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

SEED = 20211106
LEVEL = 0.95


def delong(y, s):
    pos, neg = s[y], s[~y]
    psi = (pos[:, None] > neg[None, :]) + 0.5 * (pos[:, None] == neg[None, :])
    auc = psi.mean()
    var = psi.mean(1).var(ddof=1) / len(pos) + psi.mean(0).var(ddof=1) / len(neg)
    half = norm.ppf(0.5 + LEVEL / 2) * math.sqrt(var) / (auc * (1 - auc))
    logit = math.log(auc / (1 - auc))
    return [1 / (1 + math.exp(-(logit + d))) for d in (-half, half)]


def case(name, y, s):
    y = np.asarray(y, bool)
    s = np.asarray(s, float)
    fpr, tpr, thr = roc_curve(y, s, drop_intermediate=False)
    lo, hi = delong(y, s)
    return {
        "name": name,
        "scores": s.tolist(),
        "novel": y.tolist(),
        "auroc": roc_auc_score(y, s),
        "ap": average_precision_score(y, s),
        "lo": lo,
        "hi": hi,
        # The first threshold is a placeholder that has changed between
        # versions; ours is infinity.
        "fpr": fpr[1:].tolist(),
        "tpr": tpr[1:].tolist(),
        "threshold": thr[1:].tolist(),
    }


def main():
    rng = np.random.RandomState(SEED)
    cases = []
    y = rng.rand(60) < 0.5
    cases.append(case("continuous", y, rng.randn(60) + y))
    y = rng.rand(80) < 0.1
    cases.append(case("few novel, ties", y, np.round(rng.randn(80) + y, 1)))
    y = rng.rand(50) < 0.9
    cases.append(case("many novel, heavy ties", y, rng.randint(0, 4, 50) + y))
    y = rng.rand(40) < 0.5
    cases.append(case("worse than chance", y, rng.randn(40) - y))
    json.dump(cases, sys.stdout, indent=1)
    print()


main()
