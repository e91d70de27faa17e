package paper

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// wilcoxon returns the two-sided p-value of Wilcoxon's signed-rank test that paired
// differences are symmetric about 0, and how many differences are not 0. It is exact:
// over all 2^n signs of the n differences that are not 0, with the ranks as they are,
// those of equal size being their mean. Zeros are left out, as Wilcoxon did. Without
// any other difference p is 1.
func wilcoxon(differences []float64) (p float64, n int) {
	d := slices.DeleteFunc(slices.Clone(differences), func(v float64) bool { return v == 0 })
	n = len(d)
	slices.SortFunc(d, func(a, b float64) int { return cmp.Compare(math.Abs(a), math.Abs(b)) })
	// Twice the ranks are whole, and so can count.
	ranks := make([]int, n)
	for i := 0; i < n; {
		j := i
		for j < n && math.Abs(d[j]) == math.Abs(d[i]) {
			j++
		}
		for k := i; k < j; k++ {
			ranks[k] = i + j + 1 // of the places i+1 to j
		}
		i = j
	}
	positive := 0
	chance := make([]float64, n*(n+1)+1) // of each sum of the ranks of positive differences
	chance[0] = 1
	for i, r := range ranks {
		if d[i] > 0 {
			positive += r
		}
		for s := len(chance) - 1; s >= 0; s-- {
			chance[s] /= 2
			if s >= r {
				chance[s] += chance[s-r] / 2
			}
		}
	}
	var below, above float64
	for s, c := range chance {
		if s <= positive {
			below += c
		}
		if s >= positive {
			above += c
		}
	}
	return min(1, 2*min(below, above)), n
}

const (
	bootstraps    = 10000
	bootstrapSeed = 211106150 // the paper's number
	bootstrapMin  = 5         // classes below which resampling them says nothing
	coverage      = .95
)

// bootstrap returns the percentile interval of the mean when the values are drawn
// again with replacement. It has no random part that differs between calls. Of fewer
// than bootstrapMin values it is NaN.
func bootstrap(values []float64) (lo, hi float64) {
	if len(values) < bootstrapMin {
		return math.NaN(), math.NaN()
	}
	rng := rand.New(rand.NewPCG(bootstrapSeed, 0))
	means := make([]float64, bootstraps)
	for i := range means {
		for range values {
			means[i] += values[rng.IntN(len(values))]
		}
		means[i] /= float64(len(values))
	}
	slices.Sort(means)
	tail := (1 - coverage) / 2
	return means[int(tail*bootstraps)], means[int((1-tail)*bootstraps)-1]
}

// A comparison is of two series class by class.
type comparison struct {
	classes, better int
	mean, lo, hi    float64 // of a-b, with the interval of bootstrap
	p               float64 // of wilcoxon
}

// compare returns by how much a is above b over the classes that both have.
func compare(a, b series) (comparison, bool) {
	var d []float64
	c := comparison{}
	for _, v := range a {
		w, ok := b.get(v.class)
		if !ok {
			continue
		}
		d = append(d, v.mean-w.mean)
		if v.mean > w.mean {
			c.better++
		}
	}
	if len(d) == 0 {
		return c, false
	}
	c.classes = len(d)
	c.mean = average(d)
	c.lo, c.hi = bootstrap(d)
	c.p, _ = wilcoxon(d)
	return c, true
}
