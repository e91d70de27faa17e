package metrics

import (
	"iter"
	"math"
	"slices"
)

// A descent goes over the distinct scores of a set from the highest down, which
// is the order in which images or pixels become novel as a threshold falls.
type descent struct {
	ties        iter.Seq[tie]
	novel, norm int // of each class, both at least 1 and together less than 2^32
}

func (r ranking) descent() descent {
	return descent{func(yield func(tie) bool) {
		for _, t := range slices.Backward(r.ties) {
			if !yield(t) {
				return
			}
		}
	}, r.novel, r.norm}
}

// auroc returns the Mann-Whitney statistic over the number of pairs. It counts
// half pairs in integers, so that nothing is rounded before the division: the
// count stays below 2^63.
func (d descent) auroc() float64 {
	var halves int
	below := d.norm // normal ones with a smaller score
	for t := range d.ties {
		below -= t.norm
		halves += t.novel * (2*below + t.norm)
	}
	return float64(halves) / 2 / (float64(d.novel) * float64(d.norm))
}

func (d descent) averagePrecision() (ap float64) {
	var tp, called int
	for t := range d.ties {
		tp += t.novel
		called += t.novel + t.norm
		if t.novel > 0 {
			ap += float64(t.novel) / float64(d.novel) * (float64(tp) / float64(called))
		}
	}
	return ap
}

// cut returns the cut at threshold, which tp novel and fp normal ones reach.
func (d descent) cut(threshold float64, tp, fp int) Cut {
	return Cut{
		Threshold: threshold,
		FPR:       float64(fp) / float64(d.norm),
		TPR:       float64(tp) / float64(d.novel),
		IoU:       float64(tp) / float64(d.novel+fp),
	}
}

// youden returns the cut with the largest J, see [Youden].
func (d descent) youden() (best Cut) {
	var tp, fp int
	bestJ := math.MinInt
	for t := range d.ties {
		tp += t.novel
		fp += t.norm
		if j := tp*d.norm - fp*d.novel; j > bestJ {
			bestJ, best = j, d.cut(t.score, tp, fp)
		}
	}
	return best
}

// f1max returns the cut with the largest F1, see [F1Max]. F1 grows with the
// intersection over union, tp / (novel + fp), whose quotients are compared in
// whole numbers: their products stay below 2^64.
func (d descent) f1max() (best Cut) {
	var tp, fp int
	bestBoth, bestEither := uint64(0), uint64(1)
	for t := range d.ties {
		tp += t.novel
		fp += t.norm
		both, either := uint64(tp), uint64(d.novel+fp)
		if both*bestEither > bestBoth*either {
			bestBoth, bestEither, best = both, either, d.cut(t.score, tp, fp)
		}
	}
	return best
}

// at returns the cut at a threshold.
func (d descent) at(threshold float64) Cut {
	var tp, fp int
	for t := range d.ties {
		if t.score < threshold {
			break
		}
		tp += t.novel
		fp += t.norm
	}
	return d.cut(threshold, tp, fp)
}
