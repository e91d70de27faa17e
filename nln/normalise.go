package nln

import (
	"fmt"
	"math"
	"slices"
)

// Ways to normalise the two terms of a score before they are added, as
// [Policy].Normalise: each maps a term v to (v-b)/s. Where b and s come from
// says the protocol: held-out normal images for a [Calibration], the evaluated
// images themselves under [ProtocolPaper]. Offsets cancel in any order of
// images; what the choice changes is the weight of one term relative to the
// other, see [Calibration.Rho]. An alpha that was good under one is not
// under another.
const (
	// NormaliseMinMax takes the smallest value as b and the largest as b+s. It is
	// what the paper's authors do, and the default.
	NormaliseMinMax = "minmax"

	// NormaliseRobust takes the 0.5th percentile as b and the 99.5th as b+s, so
	// that one extreme image does not change the weight of a term. For n
	// ascending values v, counted from 0, the percentile of a share q lies at
	// h = q(n-1), between two values linearly:
	//
	//	v[floor h] + (h - floor h) (v[floor h + 1] - v[floor h])
	NormaliseRobust = "robust"

	// NormaliseZScore takes the mean as b and the standard deviation, the root of
	// the mean squared difference from it, as s.
	NormaliseZScore = "zscore"

	// NormaliseNone adds the terms as they are, b = 0 and s = 1: the plain sum of
	// equations 4, 7 and 8, whose terms have different units.
	NormaliseNone = "none"
)

var normaliseNames = []string{NormaliseMinMax, NormaliseRobust, NormaliseZScore, NormaliseNone}

// robustTail is the share of values below and above the range of
// NormaliseRobust.
const robustTail = .005

// A Range holds the values of a term that are mapped to 0 and to 1: under
// NormaliseMinMax the smallest and the largest one over some images.
type Range struct {
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// NoRange returns the range of nothing that [Range.Widen] can begin with.
func NoRange() Range { return Range{Min: math.Inf(1), Max: math.Inf(-1)} }

// Widen makes r hold the values from lo to hi too.
func (r *Range) Widen(lo, hi float64) { r.Min, r.Max = min(r.Min, lo), max(r.Max, hi) }

// RangeOf returns the range of v, which must hold no NaN; the range of nothing
// is {0, 0}.
func RangeOf(v []float64) Range {
	if len(v) == 0 {
		return Range{}
	}
	return Range{Min: slices.Min(v), Max: slices.Max(v)}
}

// RangeBy returns the range of v by one of the Normalise constants, "" for
// NormaliseMinMax. v must hold finite values; its order does not matter but for
// rounding. Values that are all equal give a range of no width, except under
// NormaliseNone, which is {0, 1} always; so does nothing, {0, 0}.
func RangeBy(normalise string, v []float64) (Range, error) {
	if err := checkNormalise(normalise); err != nil {
		return Range{}, fmt.Errorf("nln: %w", err)
	}
	return rangeBy(normalise, v), nil
}

func rangeBy(normalise string, v []float64) Range {
	all := RangeOf(v)
	switch {
	case normalise == NormaliseNone:
		return Range{0, 1}
	case all.Min == all.Max: // and the mean could be rounded to beside it
		return all
	case normalise == NormaliseRobust:
		v = slices.Sorted(slices.Values(v))
		return Range{percentile(v, robustTail), percentile(v, 1-robustTail)}
	case normalise == NormaliseZScore:
		mean, sd := moments(v)
		return Range{mean, mean + sd}
	}
	return all
}

// percentile returns the value at a share q of v, which is ascending: see
// NormaliseRobust.
func percentile(v []float64, q float64) float64 {
	h := q * float64(len(v)-1)
	i := int(h)
	if i+1 >= len(v) {
		return v[len(v)-1]
	}
	// The conversion keeps the product from being fused with the sum, which
	// would round otherwise on other processors.
	return v[i] + float64((h-float64(i))*(v[i+1]-v[i]))
}

// moments returns the mean and the standard deviation of v.
func moments(v []float64) (mean, sd float64) {
	for _, x := range v {
		mean += x
	}
	mean /= float64(len(v))
	for _, x := range v {
		sd += float64((x - mean) * (x - mean))
	}
	return mean, math.Sqrt(sd / float64(len(v)))
}

// Scale maps Min to 0 and Max to 1, and values outside to below 0 and above 1:
// clipping would make very novel images equal. A term whose range has no width
// says nothing and becomes 0.
func (r Range) Scale(v float64) float64 {
	if r.Min == r.Max {
		return 0
	}
	return (v - r.Min) / (r.Max - r.Min)
}

func checkNormalise(name string) error {
	if name != "" && !slices.Contains(normaliseNames, name) {
		return fmt.Errorf("normalise is %q, want one of %q", name, normaliseNames)
	}
	return nil
}
