package metrics

import (
	"fmt"
	"math"
)

// A Cut is a threshold with what it does: images (or pixels) that score
// Threshold or more are called novel.
type Cut struct {
	Threshold float64
	FPR, TPR  float64
	IoU       float64 // see [IoU]
}

// F1 returns the harmonic mean of precision and recall (which is TPR),
//
//	2 TP / (2 TP + FP + FN) = 2 IoU / (1 + IoU)
//
// also known as Dice's coefficient.
func (c Cut) F1() float64 { return 2 * c.IoU / (1 + c.IoU) }

// Youden returns the score that, taken as threshold, has the largest TPR - FPR
// (Youden's J); of equal ones the highest. J is compared in whole numbers, so
// that ties are found exactly.
//
// The threshold is chosen with the labels in hand. It describes a set that is
// known already, as the paper's IoU does, and is optimistic about any other.
func Youden(scores []float64, novel []bool) (Cut, error) {
	r, err := rank("youden", scores, novel)
	if err != nil {
		return Cut{}, err
	}
	return r.descent().youden(), nil
}

// F1Max returns the score that, taken as threshold, has the largest [Cut.F1]; of
// equal ones the highest. It has the largest IoU too, since F1 grows with it. As
// with [Youden], the threshold is chosen with the labels in hand.
//
// Scikit-learn's precision_recall_curve has the same thresholds; where F1 is the
// same at several, an argmax over it gives the lowest.
func F1Max(scores []float64, novel []bool) (Cut, error) {
	r, err := rank("f1max", scores, novel)
	if err != nil {
		return Cut{}, err
	}
	return r.descent().f1max(), nil
}

// IoU returns the intersection over union of what is novel and what scores
// threshold or more,
//
//	TP / (TP + FP + FN)
//
// pooled over all the scores. Where both are empty it is undefined and the
// error wraps [ErrOneClass].
func IoU(scores []float64, novel []bool, threshold float64) (float64, error) {
	if len(scores) != len(novel) {
		return 0, fmt.Errorf("metrics: iou: %d scores, %d labels", len(scores), len(novel))
	}
	if math.IsNaN(threshold) {
		return 0, fmt.Errorf("metrics: iou: threshold is NaN")
	}
	var both, either int
	for i, s := range scores {
		if math.IsNaN(s) {
			return 0, fmt.Errorf("metrics: iou: score %d is NaN", i)
		}
		called := s >= threshold
		if called && novel[i] {
			both++
		}
		if called || novel[i] {
			either++
		}
	}
	if either == 0 {
		return 0, fmt.Errorf("metrics: iou: nothing novel and nothing at or above %v: %w", threshold, ErrOneClass)
	}
	return float64(both) / float64(either), nil
}

// PercentIncrease returns by how many percent nln is above recon, relative to
// recon, as is usual:
//
//	100 (nln/recon - 1)
//
// The arguments are two AUROCs or their means over classes. A recon of 0 gives
// an infinity or NaN.
func PercentIncrease(recon, nln float64) float64 { return 100 * (nln/recon - 1) }

// PercentIncreasePaper returns the increase relative to nln, the formula of the
// authors' programs behind the paper's tables 1 and 2:
//
//	100 (1 - recon/nln)
//
// It is the smaller of the two for any gain; an nln of 0 gives an infinity or
// NaN.
func PercentIncreasePaper(recon, nln float64) float64 { return 100 * (1 - recon/nln) }
