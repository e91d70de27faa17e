// Package metrics measures how well scores separate novel from normal images.
//
// [AUROC] is the measure of the paper and [DeLong] gives it a confidence
// interval; [ROC] has the points to plot, [AveragePrecision] and [F1Max] other
// usual summaries, [Youden] and [IoU] the segmentation measure. [Pixels] has
// these for the pixels of many images, and AUPRO; [Regions] finds the connected
// components of a mask.
//
// In every function of scores, scores[i] belongs to novel[i], larger scores mean
// more novel, and neither slice is changed. Infinite scores are compared as any
// other; a NaN score, slices of unequal length and a set of one class alone
// ([ErrOneClass]) are errors. No result depends on the order of the images.
package metrics

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrOneClass is returned, wrapped, when the labels are all novel, all normal
// or none at all: how well two classes are told apart is then undefined.
var ErrOneClass = errors.New("need both normal and novel images")

// A tie counts the images, or pixels, that have one score.
type tie struct {
	score       float64
	novel, norm int
	share       float64 // of pixels alone: how many regions the novel ones make up, in shares of their regions
}

// A ranking holds the distinct scores of a set, ascending.
type ranking struct {
	ties        []tie
	novel, norm int // images of each class, both at least 1
}

// rank sorts and checks scores; op names the measure in errors.
func rank(op string, scores []float64, novel []bool) (ranking, error) {
	if len(scores) != len(novel) {
		return ranking{}, fmt.Errorf("metrics: %s: %d scores, %d labels", op, len(scores), len(novel))
	}
	var pos, neg []float64
	for i, s := range scores {
		switch {
		case math.IsNaN(s):
			return ranking{}, fmt.Errorf("metrics: %s: score %d is NaN", op, i)
		case novel[i]:
			pos = append(pos, s)
		default:
			neg = append(neg, s)
		}
	}
	if len(pos) == 0 || len(neg) == 0 {
		return ranking{}, fmt.Errorf("metrics: %s: %d novel of %d images: %w", op, len(pos), len(scores), ErrOneClass)
	}
	slices.Sort(pos)
	slices.Sort(neg)
	r := ranking{novel: len(pos), norm: len(neg)}
	for len(pos)+len(neg) > 0 {
		t := tie{score: math.Inf(1)}
		if len(pos) > 0 {
			t.score = pos[0]
		}
		if len(neg) > 0 {
			t.score = min(t.score, neg[0])
		}
		for len(pos) > 0 && pos[0] == t.score {
			t.novel++
			pos = pos[1:]
		}
		for len(neg) > 0 && neg[0] == t.score {
			t.norm++
			neg = neg[1:]
		}
		r.ties = append(r.ties, t)
	}
	return r, nil
}

// AUROC returns the area under the receiver operating characteristic: the
// chance that a novel image scores above a normal one, ties counting one half,
//
//	(R - p(p+1)/2) / (p n)
//
// with R the sum of the average ranks of the p novel images among all p+n
// (Mann and Whitney). It is .5 when all scores are equal, and equals
// scikit-learn's roc_auc_score.
func AUROC(scores []float64, novel []bool) (float64, error) {
	r, err := rank("auroc", scores, novel)
	if err != nil {
		return 0, err
	}
	return r.descent().auroc(), nil
}

// A Point is one point of a receiver operating characteristic: the rates when
// the images that score Threshold or more are called novel.
type Point struct {
	Threshold float64
	FPR       float64 // false-positive rate: share of the normal images called novel
	TPR       float64 // true-positive rate: share of the novel images called novel
}

// ROC returns the curve of which [AUROC] is the area by the trapezoidal rule:
// first (0, 0) with an infinite threshold, then one point for each distinct
// score from the highest down, the last (1, 1). Both rates never decrease.
func ROC(scores []float64, novel []bool) ([]Point, error) {
	r, err := rank("roc", scores, novel)
	if err != nil {
		return nil, err
	}
	points := make([]Point, 1, len(r.ties)+1)
	points[0].Threshold = math.Inf(1)
	var tp, fp int
	for t := range r.descent().ties {
		tp += t.novel
		fp += t.norm
		points = append(points, Point{
			Threshold: t.score,
			FPR:       float64(fp) / float64(r.norm),
			TPR:       float64(tp) / float64(r.novel),
		})
	}
	return points, nil
}

// AveragePrecision returns the sum over the distinct scores, highest first, of
//
//	(R_t - R_{t-1}) P_t
//
// with R and P the recall and the precision when scores of t or more are
// called novel. Images with equal scores enter together and there is no
// interpolation, as in scikit-learn's average_precision_score. Unlike AUROC it
// depends on the share of novel images, so values from sets with different
// shares do not compare.
func AveragePrecision(scores []float64, novel []bool) (float64, error) {
	r, err := rank("average precision", scores, novel)
	if err != nil {
		return 0, err
	}
	return r.descent().averagePrecision(), nil
}
