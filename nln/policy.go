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

	// Rank says which score gives [Score].Score, its p-value and the verdict:
	// ScoreTotal, which "" stands for, or ScoreLocal.
	Rank string

	Local Local // of the local score; the zero value: its defaults

	// FPR is the false-positive rate: the share of normal images that may be
	// called novel, in (0, 1).
	FPR float64

	// Threshold, unless nil, replaces FPR: scores above it are called novel.
	Threshold *float64
}

// DefaultPolicy returns 3 neighbours and an alpha of 0.8, values that were set
// beforehand for the small data sets and not by looking at results on them,
// and a false-positive rate of 1 %.
func DefaultPolicy() Policy { return Policy{K: 3, Alpha: .8, FPR: .01} }

func (p Policy) check() error {
	switch {
	case p.K < 1:
		return fmt.Errorf("K is %d, want at least 1", p.K)
	case !(p.Alpha >= 0 && p.Alpha <= 1):
		return fmt.Errorf("alpha is %v, want 0 to 1", p.Alpha)
	case !(p.FPR > 0 && p.FPR < 1):
		return fmt.Errorf("false-positive rate is %v, want between 0 and 1", p.FPR)
	case p.Threshold != nil && math.IsNaN(*p.Threshold):
		return fmt.Errorf("threshold is NaN")
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
		return p, fmt.Errorf("K is %d but %d neighbours were kept: fit again with a larger MaxK", p.K, k)
	}
	if p.Space == "" {
		p.Space = spaces[0]
	}
	if !slices.Contains(spaces, p.Space) {
		return p, fmt.Errorf("space is %q but only %q were kept", p.Space, spaces)
	}
	if p.Rank == "" {
		p.Rank = ScoreTotal
	}
	p.Local, err = p.Local.complete(k)
	return p, err
}

// terms returns the error and the distance term of image i of q, which must
// have what the completed policy asks for.
func (p Policy) terms(q Parts, i int) (e, d float64) {
	at := q.space(p.Space)
	if at < 0 {
		panic(fmt.Sprintf("nln: parts in the spaces %q, not in %q", q.SpaceNames(), p.Space))
	}
	return q.Spaces[at].Mean[q.cell(i, p.K)], q.D(i, p.K)
}
