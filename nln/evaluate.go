package nln

import (
	"fmt"
	"math"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// Protocols of evaluation. They scale the two terms over different images and
// so weigh them differently under one alpha: see [Result.Rho].
const (
	// ProtocolPaper scales each term by its range over the evaluated images, as
	// the paper's authors did. It looks at the test set, and one extreme image
	// changes the weight of a term for all: optimistic, and no way to score
	// images as they come.
	ProtocolPaper = "paper"

	// ProtocolHeldOut scales by the ranges over the calibration images.
	ProtocolHeldOut = "held-out"
)

// Scores to evaluate.
const (
	ScoreRecon    = "recon"    // plain reconstruction error, the baseline (equation 3)
	ScoreError    = "error"    // the error term alone, alpha 1
	ScoreDistance = "distance" // the distance term alone, alpha 0
	ScoreTotal    = "total"    // both (equation 4)
)

// ConfidenceLevel is the nominal coverage of the intervals in a [Result].
const ConfidenceLevel = .95

// A Result says how well one score under one protocol tells novel from normal.
type Result struct {
	Protocol string  `json:"protocol"`
	Score    string  `json:"score"`
	K        int     `json:"k"`     // neighbours; 0 for ScoreRecon, which has none
	Alpha    float64 `json:"alpha"` // weight of the error term; 1 for ScoreRecon, which has no other
	AUROC    float64 `json:"auroc"`
	Lo       float64 `json:"lo"` // confidence interval, see [metrics.DeLong]
	Hi       float64 `json:"hi"`

	// Rho is the weight of the distance relative to the error, in their own
	// units: images rank by E + Rho*D. Two protocols agree where their Rhos do,
	// not where their alphas do. It is nil for ScoreRecon and where it is not
	// finite, as for an alpha of 0.
	Rho *float64 `json:"rho,omitempty"`
}

// Evaluate measures the scores of test, whose labels are novel, for each number
// of neighbours in ks and each weight in alphas, under both protocols; calib
// has the parts of the calibration images, without which the held-out protocol
// is left out. Under each protocol come first ScoreRecon, then, for each K,
// ScoreError, ScoreDistance and ScoreTotal with each alpha. The first three do
// not depend on the protocol, since scaling one term keeps its order, and are
// listed under each so that each list is whole.
//
// It fails with [metrics.ErrOneClass] unless test has novel and normal images.
func Evaluate(test Parts, novel []bool, calib Parts, ks []int, alphas []float64) ([]Result, error) {
	results, err := evaluate(test, novel, calib, ks, alphas)
	if err != nil {
		return nil, fmt.Errorf("nln: evaluate: %w", err)
	}
	return results, nil
}

func evaluate(test Parts, novel []bool, calib Parts, ks []int, alphas []float64) ([]Result, error) {
	if err := checkEvaluate(test, calib, ks, alphas); err != nil {
		return nil, err
	}
	paper, heldOut := evaluation{name: ProtocolPaper}, evaluation{name: ProtocolHeldOut}
	both := func(r Result, scores []float64) error {
		r, err := measure(r, scores, novel)
		paper.add(r)
		heldOut.add(r)
		return err
	}
	if err := both(Result{Score: ScoreRecon, Alpha: 1}, test.Recon); err != nil {
		return nil, err
	}
	for _, k := range ks {
		es, ds := test.Errors(k), test.Distances(k)
		if err := both(Result{Score: ScoreError, K: k, Alpha: 1, Rho: new(float64)}, es); err != nil {
			return nil, err
		}
		if err := both(Result{Score: ScoreDistance, K: k, Alpha: 0}, ds); err != nil {
			return nil, err
		}
		if err := paper.totals(k, alphas, es, ds, RangeOf(es), RangeOf(ds), novel); err != nil {
			return nil, err
		}
		if calib.Len() == 0 {
			continue
		}
		if err := heldOut.totals(k, alphas, es, ds, RangeOf(calib.Errors(k)), RangeOf(calib.Distances(k)), novel); err != nil {
			return nil, err
		}
	}
	if calib.Len() == 0 {
		return paper.results, nil
	}
	return append(paper.results, heldOut.results...), nil
}

// An evaluation gathers the results of one protocol.
type evaluation struct {
	name    string
	results []Result
}

func (v *evaluation) add(r Result) {
	r.Protocol = v.name
	v.results = append(v.results, r)
}

// totals adds the combined score for each alpha, its terms es and ds scaled by
// the ranges e and d.
func (v *evaluation) totals(k int, alphas, es, ds []float64, e, d Range, novel []bool) error {
	scores := make([]float64, len(es))
	for _, alpha := range alphas {
		for i := range scores {
			scores[i] = mix(alpha, e.Scale(es[i]), d.Scale(ds[i]))
		}
		r, err := measure(Result{Score: ScoreTotal, K: k, Alpha: alpha}, scores, novel)
		if err != nil {
			return err
		}
		if w := rho(alpha, e, d); !math.IsInf(w, 0) && !math.IsNaN(w) {
			r.Rho = &w
		}
		v.add(r)
	}
	return nil
}

// measure fills in the AUROC of r.
func measure(r Result, scores []float64, novel []bool) (Result, error) {
	var err error
	r.AUROC, r.Lo, r.Hi, err = metrics.DeLong(scores, novel, ConfidenceLevel)
	return r, err
}

func checkEvaluate(test, calib Parts, ks []int, alphas []float64) error {
	if err := test.Check(); err != nil {
		return err
	}
	if err := calib.Check(); err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	most := test.K
	if calib.Len() > 0 {
		most = min(most, calib.K)
	}
	for _, k := range ks {
		if k < 1 || k > most {
			return fmt.Errorf("K is %d, want 1 to the %d neighbours kept", k, most)
		}
	}
	for _, alpha := range alphas {
		if !(alpha >= 0 && alpha <= 1) {
			return fmt.Errorf("alpha is %v, want 0 to 1", alpha)
		}
	}
	return nil
}
