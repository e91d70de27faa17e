"""Writes pixels.json, the expected numbers of TestPixelsAgainstSklearn and
TestRegionsAgainstScipy.

Ran with Python 3.11.2, scikit-learn 1.2.1, numpy 1.24.2, scipy 1.10.1:

    python3 pixels.py > pixels.json

The per-region overlap comes from its definition, one threshold after another;
regions and their boxes from scipy, with the structure that MVTec's evaluation
gives it.
"""
import json
import sys

import numpy as np

from scipy import ndimage
from sklearn.metrics import (average_precision_score, f1_score, jaccard_score,
                             precision_recall_curve, roc_auc_score, roc_curve)

SEED = 20211106
LIMITS = [0.05, 0.3, 0.5, 1]
SHARES = [0, 0.01, 0.1, 0.29, 0.5, 0.9]
EIGHT = np.ones((3, 3), int)  # sides and corners
SAME = 1e-12  # measures that differ by less are equal


def cut(y, s, threshold):
    called = s >= threshold
    return {
        "threshold": float(threshold),
        "fpr": called[~y].mean(),
        "tpr": called[y].mean(),
        "iou": jaccard_score(y, called),
        "f1": f1_score(y, called),
    }


def highest(values, thresholds):
    """The highest threshold with the largest value."""
    values = np.asarray(values)
    return max(np.asarray(thresholds)[values >= values.max() - SAME])


def youden(y, s):
    fpr, tpr, thresholds = roc_curve(y, s, drop_intermediate=False)
    return cut(y, s, highest((tpr - fpr)[1:], thresholds[1:]))


def f1max(y, s):
    precision, recall, thresholds = precision_recall_curve(y, s)
    p, r = precision[:-1], recall[:-1]
    f1 = 2 * p * r / np.maximum(p + r, SAME)
    return cut(y, s, highest(f1, thresholds))


def aupro(images, limit):
    fprs, pros = [0.0], [0.0]
    for t in np.unique(np.concatenate([s.ravel() for s, _ in images]))[::-1]:
        fp = normal = 0
        overlaps = []
        for s, mask in images:
            called = s >= t
            fp += called[~mask].sum()
            normal += (~mask).sum()
            labels, n = ndimage.label(mask, EIGHT)
            overlaps += [called[labels == k + 1].mean() for k in range(n)]
        fprs.append(fp / normal)
        pros.append(np.mean(overlaps))
    fprs, pros = np.array(fprs), np.array(pros)
    end = np.searchsorted(fprs, limit, side="right")
    x, y = list(fprs[:end]), list(pros[:end])
    if x[-1] < limit:
        slope = (pros[end] - pros[end - 1]) / (fprs[end] - fprs[end - 1])
        y.append(y[-1] + slope * (limit - x[-1]))
        x.append(limit)
    return np.trapz(y, x) / limit


def normal_threshold(normal, share):
    """The lowest float32 just above a score that at most share reach."""
    for v in np.unique(normal):
        t = np.nextafter(np.float32(v), np.float32(np.inf))
        if (normal >= t).mean() <= share:
            return float(t)


def regions(mask):
    labels, n = ndimage.label(mask, EIGHT)
    return [{"y0": y.start, "y1": y.stop, "x0": x.start, "x1": x.stop,
             "area": int((labels == k + 1).sum())}
            for k, (y, x) in enumerate(ndimage.find_objects(labels, n))]


def case(name, images):
    """images: pairs of scores of four decimals and a mask."""
    images = [(s.astype(np.float32), mask) for s, mask in images]
    s = np.concatenate([s.ravel() for s, _ in images])
    y = np.concatenate([mask.ravel() for _, mask in images])
    return {
        "name": name,
        "images": [{
            "h": s.shape[0],
            "w": s.shape[1],
            "scores": [round(float(v), 4) for v in s.ravel()],
            "mask": mask.ravel().astype(int).tolist(),
            "regions": regions(mask),
        } for s, mask in images],
        "auroc": roc_auc_score(y, s),
        "ap": average_precision_score(y, s),
        "youden": youden(y, s),
        "f1max": f1max(y, s),
        "aupro": [{"limit": v, "value": aupro(images, v)} for v in LIMITS],
        "normal": [{"share": v, "threshold": normal_threshold(s[~y], v)} for v in SHARES],
    }


def blobs(rng, h, w, share):
    """A mask of smooth regions, some of which touch the border."""
    field = ndimage.gaussian_filter(rng.randn(h, w), 1.2)
    return field > np.quantile(field, 1 - share)


def drawn(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def main():
    rng = np.random.RandomState(SEED)
    cases = []

    masks = [blobs(rng, 11, 9, share) for share in (0.1, 0.3, 0.05)] + [np.zeros((11, 9), bool)]
    cases.append(case("continuous", [(np.round(rng.randn(11, 9) + 1.5 * m, 4), m) for m in masks]))

    masks = [blobs(rng, 8, 13, share) for share in (0.2, 0.1)] + [np.zeros((5, 4), bool)]
    cases.append(case("ties, most scores negative",
                      [(np.round(2 * rng.randn(*m.shape) + 2 * m) / 4 - 1, m) for m in masks]))

    masks = [
        drawn("#..#.#.", ".##..#.", "......#", "#.#.#..", ".#.#.#.", "......#"),
        drawn("#####", "#...#", "#.#.#", "#...#", "#####"),
        drawn("##", "##", "##"),  # all set
        drawn("#"),
        drawn("."),
        drawn("#.#.##..#"),
    ]
    cases.append(case("corners, border, all set",
                      [(np.round(rng.rand(*m.shape) + 0.4 * m, 2), m) for m in masks]))

    masks = [blobs(rng, 6, 10, 0.2), blobs(rng, 6, 10, 0.2)]
    cases.append(case("limits between three scores",
                      [((rng.rand(6, 10) + 0.5 * m > 0.7) + (rng.rand(6, 10) + 0.5 * m > 0.8).astype(float), m)
                       for m in masks]))

    # Twenty normal pixels, no two alike: every limit is the rate of a threshold.
    mask = drawn("##...#.", ".#.#...", "......#", "#.....#")
    s = np.zeros(mask.shape)
    s[~mask] = rng.permutation(20)
    s[mask] = [19, 3, 11.5, 30, 18, 12, 14, 5]
    cases.append(case("limits on thresholds", [(s, mask)]))

    masks = [blobs(rng, 3 + i % 4, 4 + i % 3, 0.15 * (i % 3)) for i in range(12)]
    cases.append(case("small images of many sizes",
                      [(np.round(rng.gamma(1, 1, m.shape) + m, 3), m) for m in masks]))

    json.dump(cases, sys.stdout, separators=(",", ":"))
    print()


main()
