package nln

import (
	"fmt"
	"math"
	"slices"
)

// A Policy says how the parts of a score become one number and a verdict. It
// can be changed without fitting again, see [Scorer.With].
type Policy struct {
	K     int     // neighbours per image, at least 1
	Alpha float64 // weight of the error term, in [0, 1]; the distance has 1-Alpha (equation 4)
	Space string  // of the error term, see [Space]; "": the first that is kept

	// Radius, unless 0, leaves out neighbours whose Euclidean distance is larger,
	// so that the terms are means over the K nearest or fewer. An image without
	// any is compared with its own reconstruction, in the space of the error
	// term, and Radius stands for the distance, which is larger. The authors'
	// code, which has this as an option, makes such terms NaN.
	Radius float64

	// Metric measures the distance term: one of the Metric constants, "" for
	// MetricL2. The neighbours are the nearest by Euclidean distance always.
	Metric string

	// Normalise says how the error and the distance term are scaled before they
	// are added: one of the Normalise constants, "" for NormaliseMinMax.
	Normalise string

	// Rank says which score gives [Score].Score, its p-value and the verdict:
	// ScoreTotal, which "" stands for, ScoreLocal or ScoreProduct.
	Rank string

	Local Local // of the local score and of the product; the zero value: its defaults

	// FPR is the false-positive rate: the share of normal images that may be
	// called novel, in (0, 1).
	FPR float64

	// Threshold, unless nil, replaces FPR: scores above it are called novel.
	Threshold *float64
}

// Metrics of the distance between two latent vectors of L values. The paper
// writes it |z - z^k|; its authors' code takes L2. The sum of absolute
// differences, L1, is L times MetricL1Mean and ranks as that does.
const (
	MetricL2      = "l2"     // Euclidean, not squared
	MetricSquared = "l2sq"   // Euclidean, squared
	MetricL1Mean  = "l1mean" // mean absolute difference: needs SpaceLatent to be kept, and no Radius
)

var metricNames = []string{MetricL2, MetricSquared, MetricL1Mean}

// DefaultPolicy returns 3 neighbours and an alpha of 0.8, values that were set
// beforehand for the small data sets and not by looking at results on them,
// and a false-positive rate of 1 %.
func DefaultPolicy() Policy { return Policy{K: 3, Alpha: .8, FPR: .01} }

func (p Policy) check() error {
	switch {
	case p.K < 1:
		return fmt.Errorf("number of neighbours K is %d, want at least 1", p.K)
	case !(p.Alpha >= 0 && p.Alpha <= 1):
		return fmt.Errorf("alpha is %v, want 0 to 1", p.Alpha)
	case !(p.FPR > 0 && p.FPR < 1):
		return fmt.Errorf("false-positive rate is %v, want between 0 and 1", p.FPR)
	case p.Threshold != nil && math.IsNaN(*p.Threshold):
		return fmt.Errorf("threshold is NaN")
	case !(p.Radius >= 0) || math.IsInf(p.Radius, 1):
		return fmt.Errorf("radius is %v, want a finite distance, or 0 for none", p.Radius)
	case p.Metric != "" && !slices.Contains(metricNames, p.Metric):
		return fmt.Errorf("metric is %q, want one of %q", p.Metric, metricNames)
	case p.Metric == MetricL1Mean && p.Radius > 0:
		return fmt.Errorf("metric is %q with a radius, which is one of %q or %q", p.Metric, MetricL2, MetricSquared)
	}
	if err := checkNormalise(p.Normalise); err != nil {
		return err
	}
	if err := checkRank(p.Rank); err != nil {
		return err
	}
	return p.Local.check()
}

// complete fills in defaults and makes sure that what p asks for has been kept:
// the parts of k neighbours in some spaces, the default one first.
func (p Policy) complete(k int, spaces []string) (_ Policy, err error) {
	if p.K > k {
		return p, fmt.Errorf("number of neighbours K is %d but %d neighbours were kept: fit again with a larger MaxK", p.K, k)
	}
	if p.Space == "" {
		p.Space = spaces[0]
	}
	if !slices.Contains(spaces, p.Space) {
		return p, fmt.Errorf("space is %q but only %q were kept", p.Space, spaces)
	}
	if p.Metric == "" {
		p.Metric = MetricL2
	}
	if p.Metric == MetricL1Mean && !slices.Contains(spaces, SpaceLatent) {
		return p, fmt.Errorf("metric is %q but of the spaces only %q were kept, not %q", p.Metric, spaces, SpaceLatent)
	}
	if p.Normalise == "" {
		p.Normalise = NormaliseMinMax
	}
	if p.Rank == "" {
		p.Rank = ScoreTotal
	}
	p.Local, err = p.Local.complete(k)
	return p, err
}

// terms returns the error and the distance term of image i of q, which must
// have what the completed policy asks for, and over how many neighbours they
// are means.
func (p Policy) terms(q Parts, i int) (e, d float64, within int) {
	term := q.mustHave(p.Space)
	within = p.within(q, i, p.K)
	return p.errorOver(q, term, i, within), p.distanceOver(q, i, within), within
}

// within returns how many of the k nearest neighbours of image i are within the
// radius.
func (p Policy) within(q Parts, i, k int) int {
	last := q.cell(i, k)
	if p.Radius > 0 {
		for last >= i*q.K && float64(q.Dist[last]) > p.Radius {
			last--
		}
	}
	return last + 1 - i*q.K
}

// errorOver returns the error term over the n nearest neighbours.
func (p Policy) errorOver(q Parts, term ErrorTerm, i, n int) float64 {
	if n == 0 {
		return term.Own[i]
	}
	return term.Mean[q.cell(i, n)]
}

// distanceOver returns the distance term over the n nearest neighbours.
func (p Policy) distanceOver(q Parts, i, n int) float64 {
	switch {
	case p.Metric == MetricL1Mean:
		return q.mustHave(SpaceLatent).Mean[q.cell(i, n)]
	case p.Metric == MetricSquared && n == 0:
		return p.Radius * p.Radius
	case p.Metric == MetricSquared:
		var sum float64
		for _, d := range q.Dist[i*q.K : q.cell(i, n)+1] {
			sum += float64(d) * float64(d)
		}
		return sum / float64(n)
	case n == 0:
		return p.Radius
	}
	return q.D(i, n)
}

// Apply returns parts whose error terms, in each space, and distance terms are
// those of the policy, with its space first, Radius and Metric, for each number
// of neighbours, as [Policy.Evaluate] measures them. It shares what
// is the same with q. To apply a policy again changes nothing.
func (p Policy) Apply(q Parts) (Parts, error) {
	if err := p.check(); err != nil {
		return q, fmt.Errorf("nln: %w", err)
	}
	if err := q.Check(); err != nil || q.Len() == 0 {
		return q, err
	}
	p.K, p.Local = min(p.K, q.K), Local{} // which do not matter here
	p, err := p.complete(q.K, q.SpaceNames())
	if err != nil {
		return q, fmt.Errorf("nln: %w", err)
	}
	out, err := q.In(p.Space)
	if err != nil {
		return q, err
	}
	out.Distance = make([]float64, len(q.Distance))
	for s, term := range out.Spaces {
		out.Spaces[s].Mean = make([]float64, len(term.Mean))
	}
	for i := range q.Len() {
		for k := 1; k <= q.K; k++ {
			n := p.within(q, i, k)
			for s := range out.Spaces {
				out.Spaces[s].Mean[q.cell(i, k)] = p.errorOver(q, q.mustHave(out.Spaces[s].Space), i, n)
			}
			out.Distance[q.cell(i, k)] = p.distanceOver(q, i, n)
		}
	}
	return out, nil
}
