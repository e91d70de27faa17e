package paper

import (
	"math"
	"math/rand/v2"
	"testing"
)

const rounding = 1e-12 // of sums of a few dozen numbers about 1

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

// enumerate is Wilcoxon's test by its definition: of all signs of the ranks, the share
// whose sum is as far from the middle as that of d, or further.
func enumerate(d []float64) float64 {
	var kept []float64
	for _, v := range d {
		if v != 0 {
			kept = append(kept, v)
		}
	}
	ranks := make([]float64, len(kept))
	var total, positive float64
	for i, v := range kept {
		below, equal := 0, 0
		for _, w := range kept {
			if math.Abs(w) < math.Abs(v) {
				below++
			} else if math.Abs(w) == math.Abs(v) {
				equal++
			}
		}
		ranks[i] = float64(below) + float64(equal+1)/2
		total += ranks[i]
		if v > 0 {
			positive += ranks[i]
		}
	}
	far := math.Abs(positive - total/2)
	as := 0
	for signs := range 1 << len(kept) {
		var sum float64
		for i, r := range ranks {
			if signs>>i&1 == 1 {
				sum += r
			}
		}
		if math.Abs(sum-total/2) >= far-rounding {
			as++
		}
	}
	return float64(as) / float64(int(1)<<len(kept))
}

func TestWilcoxon(t *testing.T) {
	for _, c := range []struct {
		d    []float64
		p    float64
		n    int
		note string
	}{
		{nil, 1, 0, "nothing"},
		{[]float64{0, 0}, 1, 0, "zeros alone"},
		{[]float64{1, 2, 3, 4, 5}, 2. / 32, 5, "all of one sign: 2/2^n"},
		{[]float64{-1, -2, -3, -4, -5, -6, -7, -8, -9, -10}, 2. / 1024, 10, "the smallest of ten"},
		{[]float64{1, -1}, 1, 2, "a tie of both signs"},
		{[]float64{-1, 2, 3, 4, 5}, 4. / 32, 5, "sums 0, 1, 14, 15"},
		{[]float64{1, 1, 0, 1, -1}, .625, 4, "ranks 2.5: sums 0, 2.5 (4 ways), 7.5 (4 ways), 10"},
	} {
		p, n := wilcoxon(c.d)
		if !near(p, c.p, rounding) || n != c.n {
			t.Errorf("%s: p %v of %d, want %v of %d", c.note, p, n, c.p, c.n)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		d := make([]float64, 1+rng.IntN(11))
		for j := range d {
			d[j] = float64(rng.IntN(9) - 3) // with ties and zeros
		}
		p, _ := wilcoxon(d)
		if want := enumerate(d); !near(p, want, rounding) {
			t.Errorf("draw %d: %v: p %v, by enumeration %v", i, d, p, want)
		}
	}
}

func TestBootstrap(t *testing.T) {
	if lo, hi := bootstrap([]float64{1, 2, 3, 4}); !math.IsNaN(lo) || !math.IsNaN(hi) {
		t.Errorf("four values: %v to %v, want none", lo, hi)
	}
	if lo, hi := bootstrap([]float64{3, 3, 3, 3, 3}); lo != 3 || hi != 3 {
		t.Errorf("equal values: %v to %v, want 3 to 3", lo, hi)
	}
	values := []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	lo, hi := bootstrap(values)
	again, _ := bootstrap(values)
	if lo != again {
		t.Errorf("two calls differ: %v and %v", lo, again)
	}
	// The mean 4.5 has the standard deviation sqrt(8.25/10) under resampling, and is
	// nearly normal.
	half := 1.96 * math.Sqrt(.825)
	const grain = .15 // the means lie 0.1 apart, and the ends are drawn
	if !near(lo, 4.5-half, grain) || !near(hi, 4.5+half, grain) {
		t.Errorf("%v to %v, want about %v to %v", lo, hi, 4.5-half, 4.5+half)
	}
}

func TestCompare(t *testing.T) {
	a := series{{class: "0", mean: .9}, {class: "1", mean: .8}, {class: "3", mean: .7}}
	b := series{{class: "0", mean: .8}, {class: "1", mean: .85}, {class: "2", mean: .1}}
	c, ok := compare(a, b)
	if !ok || c.classes != 2 || c.better != 1 || !near(c.mean, .025, rounding) {
		t.Errorf("%+v, %v: want 2 classes, 1 better, mean 0.025", c, ok)
	}
	if _, ok := compare(a, nil); ok {
		t.Error("nothing to compare with, but a comparison")
	}
}
