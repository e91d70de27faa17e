package metrics

import (
	"fmt"
	"math"
	"slices"
)

// A Cut is a threshold with what it does: images (or pixels) that score
// Threshold or more are called novel.
type Cut struct {
	Threshold float64
	FPR, TPR  float64
	IoU       float64 // see [IoU]
}

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
	var best Cut
	var tp, fp int
	bestJ := math.MinInt
	for _, t := range slices.Backward(r.ties) {
		tp += t.novel
		fp += t.norm
		if j := tp*r.norm - fp*r.novel; j > bestJ {
			bestJ = j
			best = Cut{
				Threshold: t.score,
				FPR:       float64(fp) / float64(r.norm),
				TPR:       float64(tp) / float64(r.novel),
				IoU:       float64(tp) / float64(r.novel+fp),
			}
		}
	}
	return best, nil
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
