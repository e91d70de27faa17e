package nln

import (
	"fmt"
	"math"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// Protocols of evaluation. They scale the two terms over different images and
// so weigh them differently under one alpha: see [Result.Rho].
const (
	// ProtocolPaper scales each term by its values over the evaluated images, as
	// the paper's authors did. It looks at the test set, and one extreme image
	// changes the weight of a term for all: optimistic, and no way to score
	// images as they come.
	ProtocolPaper = "paper"

	// ProtocolHeldOut scales by the values over the calibration images.
	ProtocolHeldOut = "held-out"
)

// Scores to evaluate. With [InSpace] some name another space than the first.
const (
	ScoreRecon    = "recon"    // plain reconstruction error, the baseline (equation 3)
	ScoreError    = "error"    // the error term alone, alpha 1
	ScoreDistance = "distance" // the distance term alone, alpha 0
	ScoreTotal    = "total"    // both (equation 4)
	ScoreSum3     = "sum3"     // error, distance and plain reconstruction error, each scaled, with equal weights: in the authors' code alone
	ScoreLocal    = "local"    // the distance relative to the neighbours' own, see [Local]
	ScoreProduct  = "product"  // the local score times the plain reconstruction error, see [Parts.Product]
)

// InSpace returns the name of a score in another space than the first, such as
// "error:code": ScoreError, ScoreTotal, or ScoreRecon for the error between an
// image and its own reconstruction in that space, [ErrorTerm].Own.
func InSpace(score, space string) string { return score + ":" + space }

// ConfidenceLevel is the nominal coverage of the intervals in a [Result].
const ConfidenceLevel = .95

// A Result says how well one score under one protocol tells novel from normal.
type Result struct {
	Protocol string  `json:"protocol"`
	Score    string  `json:"score"`
	K        int     `json:"k"`     // neighbours; 0 for ScoreRecon, which has none
	Alpha    float64 `json:"alpha"` // weight of the error term; 1 for ScoreRecon, which has no other, 0 for ScoreLocal, ScoreProduct and ScoreSum3
	AUROC    float64 `json:"auroc"`
	Lo       float64 `json:"lo"` // confidence interval, see [metrics.DeLong]
	Hi       float64 `json:"hi"`
	AP       float64 `json:"average_precision"`
	F1       float64 `json:"f1_max"` // at a threshold chosen with the labels in hand

	// Rho is the weight of the distance relative to the error, in their own
	// units: images rank by E + Rho*D. Two protocols agree where their Rhos do,
	// not where their alphas do. It is nil for ScoreRecon, ScoreSum3, ScoreLocal
	// and ScoreProduct and where it is not finite, as for an alpha of 0.
	Rho *float64 `json:"rho,omitempty"`
}

// Evaluate measures the scores of test, whose labels are novel, for each number
// of neighbours in ks and each weight in alphas, under both protocols; calib
// has the parts of the calibration images, without which the held-out protocol
// is left out. Under each protocol come first ScoreRecon, alone and in each
// space of features that test has, then, for each K, ScoreError, ScoreDistance
// ScoreTotal with each alpha and ScoreSum3 in the first space of test (see
// [Parts.In]), ScoreError and ScoreTotal with each alpha in each other one, and ScoreLocal
// and ScoreProduct with the power of [DefaultLocal] ([Parts.Locals] has others). Terms are
// scaled by NormaliseMinMax. Only ScoreTotal and ScoreSum3 depend on the
// protocol, since scaling one term keeps its order; the others are listed under
// each so that each list is whole.
//
// [Policy.Evaluate] measures other ways to form and to scale the terms.
//
// It fails with [metrics.ErrOneClass] unless test has novel and normal images.
func Evaluate(test Parts, novel []bool, calib Parts, ks []int, alphas []float64) ([]Result, error) {
	results, err := evaluate(test, novel, calib, ks, alphas, Policy{Local: DefaultLocal()})
	if err != nil {
		return nil, fmt.Errorf("nln: evaluate: %w", err)
	}
	return results, nil
}

// Evaluate measures as the function [Evaluate] does under a policy: with its
// space first, its Radius and Metric as [Policy.Apply] has them, both terms
// scaled by its Normalise, and the local score and the product with its power. The policy's K,
// Alpha, Rank and threshold do not matter but must be valid, and each number in
// ks goes for the local score too.
func (p Policy) Evaluate(test Parts, novel []bool, calib Parts, ks []int, alphas []float64) ([]Result, error) {
	test, err := p.Apply(test)
	if err != nil {
		return nil, err
	}
	if calib, err = p.Apply(calib); err != nil {
		return nil, fmt.Errorf("nln: evaluate: calibration: %w", err)
	}
	if p.Local.Power == 0 {
		p.Local.Power = DefaultLocal().Power
	}
	results, err := evaluate(test, novel, calib, ks, alphas, p)
	if err != nil {
		return nil, fmt.Errorf("nln: evaluate: %w", err)
	}
	return results, nil
}

// evaluate measures parts to which the policy has been applied.
func evaluate(test Parts, novel []bool, calib Parts, ks []int, alphas []float64, policy Policy) ([]Result, error) {
	if err := checkEvaluate(test, calib, ks, alphas); err != nil {
		return nil, err
	}
	v := &evaluation{novel: novel, normalise: policy.Normalise, protocols: []string{ProtocolPaper}, results: map[string][]Result{}}
	if calib.Len() > 0 {
		v.protocols = append(v.protocols, ProtocolHeldOut)
	}
	if err := v.baselines(test); err != nil {
		return nil, err
	}
	for _, k := range ks {
		for i, name := range test.SpaceNames() {
			q, err := test.In(name)
			if err != nil {
				return nil, err
			}
			ranges := []Parts{q}
			if calib.Len() > 0 {
				c, err := calib.In(name)
				if err != nil {
					return nil, fmt.Errorf("calibration: %w", err)
				}
				ranges = append(ranges, c)
			}
			if err := v.space(q, ranges, k, i == 0, alphas); err != nil {
				return nil, err
			}
		}
		if err := v.add(Result{Score: ScoreLocal, K: k}, test.Locals(k, policy.Local.Power), v.protocols...); err != nil {
			return nil, err
		}
		if err := v.add(Result{Score: ScoreProduct, K: k}, test.Products(k, policy.Local.Power), v.protocols...); err != nil {
			return nil, err
		}
	}
	var all []Result
	for _, name := range v.protocols {
		all = append(all, v.results[name]...)
	}
	return all, nil
}

// An evaluation gathers the results of each protocol.
type evaluation struct {
	novel     []bool
	normalise string
	protocols []string
	results   map[string][]Result
}

// add measures scores under the named protocols, in which they are the same.
func (v *evaluation) add(r Result, scores []float64, protocols ...string) (err error) {
	if r.AUROC, r.Lo, r.Hi, err = metrics.DeLong(scores, v.novel, ConfidenceLevel); err != nil {
		return err
	}
	if r.AP, err = metrics.AveragePrecision(scores, v.novel); err != nil {
		return err
	}
	best, err := metrics.F1Max(scores, v.novel)
	if err != nil {
		return err
	}
	r.F1 = best.F1()
	for _, name := range protocols {
		r.Protocol = name
		v.results[name] = append(v.results[name], r)
	}
	return nil
}

// baselines adds the plain reconstruction error and the same in each space of
// features: in image space it is the same again, in that of latents 0.
func (v *evaluation) baselines(test Parts) error {
	if err := v.add(Result{Score: ScoreRecon, Alpha: 1}, test.Recon, v.protocols...); err != nil {
		return err
	}
	for _, s := range test.Spaces {
		if s.Space == SpaceImage || s.Space == SpaceLatent {
			continue
		}
		if err := v.add(Result{Score: InSpace(ScoreRecon, s.Space), Alpha: 1}, s.Own, v.protocols...); err != nil {
			return err
		}
	}
	return nil
}

// space adds the scores over k neighbours in the first space of test, which has
// the plain names if it is the main one. ranges has the parts, in that space,
// whose ranges scale the terms under each protocol.
func (v *evaluation) space(test Parts, ranges []Parts, k int, main bool, alphas []float64) error {
	name := func(score string) string {
		if main {
			return score
		}
		return InSpace(score, test.Spaces[0].Space)
	}
	es, ds := test.Errors(k), test.Distances(k)
	if err := v.add(Result{Score: name(ScoreError), K: k, Alpha: 1, Rho: new(float64)}, es, v.protocols...); err != nil {
		return err
	}
	if main {
		if err := v.add(Result{Score: ScoreDistance, K: k, Alpha: 0}, ds, v.protocols...); err != nil {
			return err
		}
	}
	scores := make([]float64, len(es))
	for p, protocol := range v.protocols {
		e, d := rangeBy(v.normalise, ranges[p].Errors(k)), rangeBy(v.normalise, ranges[p].Distances(k))
		for _, alpha := range alphas {
			for i := range scores {
				scores[i] = mix(alpha, e.Scale(es[i]), d.Scale(ds[i]))
			}
			r := Result{Score: name(ScoreTotal), K: k, Alpha: alpha}
			if w := rho(alpha, e, d); !math.IsInf(w, 0) && !math.IsNaN(w) {
				r.Rho = &w
			}
			if err := v.add(r, scores, protocol); err != nil {
				return err
			}
		}
		if !main {
			continue
		}
		plain := rangeBy(v.normalise, ranges[p].Recon)
		for i := range scores {
			scores[i] = e.Scale(es[i]) + d.Scale(ds[i]) + plain.Scale(test.Recon[i])
		}
		if err := v.add(Result{Score: ScoreSum3, K: k}, scores, protocol); err != nil {
			return err
		}
	}
	return nil
}

func checkEvaluate(test, calib Parts, ks []int, alphas []float64) error {
	if err := test.check(); err != nil {
		return err
	}
	if err := calib.check(); err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	most := test.K
	if calib.Len() > 0 {
		most = min(most, calib.K)
	}
	for _, k := range ks {
		if k < 1 || k > most {
			return fmt.Errorf("number of neighbours K is %d, want 1 to the %d neighbours kept", k, most)
		}
	}
	for _, alpha := range alphas {
		if !(alpha >= 0 && alpha <= 1) {
			return fmt.Errorf("alpha is %v, want 0 to 1", alpha)
		}
	}
	return nil
}
