package nln_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// mixTol is for a few float64 operations on values near 1.
const mixTol = 1e-6

func calibrate(t testing.TB, p nln.Parts, alpha, fpr float64) *nln.Calibration {
	t.Helper()
	c, err := nln.Calibrate(p, nln.Policy{K: 1, Alpha: alpha, FPR: fpr})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestScoreMix(t *testing.T) {
	e, d := []float64{.10, .30, .20, .50}, []float64{1, 2, 4, 3}
	for alpha, want := range map[float64][]float64{
		.75: {0, .458333, .4375, .916667},
		.25: {0, .375, .8125, .75}, // the weight .75 on the distance
		1:   {0, .5, .25, 1},
		0:   {0, 1. / 3, 1, 2. / 3},
	} {
		c := calibrate(t, parts(e, d), alpha, .5)
		for i := range e {
			if got := c.Combine(e[i], d[i]); math.Abs(got-want[i]) > mixTol {
				t.Errorf("alpha %v: image %d: %v, want %v", alpha, i, got, want[i])
			}
		}
	}
}

func TestConstantTermCountsNothing(t *testing.T) {
	e, d := []float64{.2, .2, .2}, []float64{1, 2, 5}
	c := calibrate(t, parts(e, d), .75, .5)
	for i, want := range []float64{0, .25 * .25, .25} {
		if got := c.Combine(e[i], d[i]); math.Abs(got-want) > mixTol {
			t.Errorf("image %d: %v, want %v", i, got, want)
		}
	}
	if got := c.Combine(.9, 5); math.Abs(got-.25) > mixTol {
		t.Errorf("another error: %v, want .25 as well", got)
	}
}

// What lies outside the calibration's ranges is not clipped.
func TestScaleDoesNotClip(t *testing.T) {
	r := nln.RangeOf([]float64{4, 2, 3})
	if r != (nln.Range{Min: 2, Max: 4}) || r.Scale(8) != 3 || r.Scale(1) != -.5 {
		t.Errorf("range %v scales 8 to %v and 1 to %v, want {2 4}, 3, -0.5", r, r.Scale(8), r.Scale(1))
	}
	if r := nln.RangeOf(nil); r != (nln.Range{}) || r.Scale(7) != 0 {
		t.Errorf("range of nothing is %v and scales 7 to %v, want {0 0}, 0", r, r.Scale(7))
	}
}

func TestRhoRanksAsAlpha(t *testing.T) {
	e, d := []float64{.10, .30, .20, .50}, []float64{1, 2, 4, 3}
	if got, want := calibrate(t, parts(e, d), .75, .5).Rho(), (.25/.75)*(.4/3); math.Abs(got-want) > mixTol {
		t.Errorf("rho %v, want %v", got, want)
	}
	if got := calibrate(t, parts(e, d), 1, .5).Rho(); got != 0 {
		t.Errorf("alpha 1: rho %v, want 0", got)
	}
	if got := calibrate(t, parts(e, d), 0, .5).Rho(); !math.IsInf(got, 1) {
		t.Errorf("alpha 0: rho %v, want infinity", got)
	}
}

// The verdict and the p-value say the same to the bit, whatever the number of
// images, the rate and the ties, and the p-value is what counting gives.
func TestVerdictIsPValueAtMostRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rates := []float64{1e-9, .001, .01, .05, .1, .29, 1. / 3, .5, .57, .7, .9, .999}
	for n := 1; n <= 130; n++ {
		rates := append(rates, float64(n)/float64(n+1), rng.Float64())
		for count := range min(n, 6) { // at a possible p-value and beside it
			p := float64(1+count) / float64(n+1)
			rates = append(rates, p, math.Nextafter(p, 0), math.Nextafter(p, 1))
		}
		d := make([]float64, n)
		for i := range d {
			d[i] = float64(rng.IntN(1 + n/2))
		}
		for _, fpr := range rates {
			if fpr >= 1 || fpr <= 0 {
				continue
			}
			c := calibrate(t, parts(make([]float64, n), d), 0, fpr)
			threshold, err := c.Threshold()
			if smallest := 1 / float64(n+1); (smallest > fpr) != (err != nil) {
				t.Fatalf("%d images, rate %v: error %v, smallest p-value %v", n, fpr, err, smallest)
			}
			for s := -1.; s <= float64(n); s += .5 {
				score := c.Combine(0, s)
				count := 0
				for _, v := range d {
					if c.Combine(0, v) >= score {
						count++
					}
				}
				p := float64(1+count) / float64(n+1)
				if got := c.P(score); got != p {
					t.Fatalf("%d images: P(%v) = %v, by counting %v", n, score, got, p)
				}
				if got := c.Novel(score); got != (p <= fpr) || got != (score > threshold) {
					t.Fatalf("%d images, rate %v, threshold %v: Novel(%v) = %v with a p-value of %v", n, fpr, threshold, score, got, p)
				}
			}
		}
	}
}

// A higher score is never less novel.
func TestPValueIsMonotone(t *testing.T) {
	d := noise(1, testShape, 10, 1).Pix
	p := parts(make([]float64, len(d)), make([]float64, len(d)))
	for i, v := range d {
		p.Distance[i] = float64(v)
	}
	c := calibrate(t, p, 0, .1)
	last := 1.
	for s := -1.; s < 2; s += .001 {
		if p := c.P(s); p > last || p <= 0 {
			t.Fatalf("P(%v) = %v after %v", s, p, last)
		} else {
			last = p
		}
	}
	if want := 1 / float64(len(d)+1); last != want {
		t.Errorf("smallest p-value %v, want %v", last, want)
	}
	if !math.IsNaN(c.P(math.NaN())) || c.Novel(math.NaN()) {
		t.Error("NaN must have a NaN p-value and not be novel")
	}
}

// Normal images that were not used for calibration must get p-values with the
// distribution the documentation promises: P(p <= t) = floor(t(n+1))/(n+1), for
// one term exactly, for the mix up to the effect of its estimated scales.
func TestPValuesAreUniform(t *testing.T) {
	const (
		n, sets = 39, 4000
		// Four standard deviations of a share over the sets, at its largest.
		sampling = 4 * .5 / 63.2 // sqrt(4000) = 63.2
	)
	for alpha, slack := range map[float64]float64{1: 0, 0: 0, .8: .01} {
		rng := rand.New(rand.NewPCG(3, 4))
		counts := make([]int, n+2) // sets with each p-value, in units of 1/(n+1)
		for range sets {
			e, d := make([]float64, n+1), make([]float64, n+1)
			for i := range e {
				shared := rng.NormFloat64()
				e[i] = math.Exp(.5 * (shared + rng.NormFloat64()))
				d[i] = math.Exp(.5 * (shared + rng.NormFloat64()))
			}
			c := calibrate(t, parts(e[:n], d[:n]), alpha, .05)
			p := c.P(c.Combine(e[n], d[n]))
			counts[int(math.Round(p*(n+1)))]++
		}
		var below float64
		for r := 1; r <= n+1; r++ {
			below += float64(counts[r])
			if got, want := below/sets, float64(r)/(n+1); math.Abs(got-want) > sampling+slack {
				t.Errorf("alpha %v: share of p-values up to %v is %v", alpha, want, got)
			}
		}
	}
}

func TestTooFewImages(t *testing.T) {
	for fpr, need := range map[float64]int{.01: 99, .05: 19, .5: 1, .3: 3, 1. / 3: 2, .999: 1, .001: 999} {
		terms := make([]float64, need)
		for i := range terms {
			terms[i] = float64(i)
		}
		if _, err := calibrate(t, parts(terms, terms), .5, fpr).Threshold(); err != nil {
			t.Errorf("rate %v with %d images: %v", fpr, need, err)
		}
		if need == 1 {
			continue
		}
		c := calibrate(t, parts(terms[1:], terms[1:]), .5, fpr)
		threshold, err := c.Threshold()
		var few *nln.TooFewError
		if !errors.As(err, &few) || *few != (nln.TooFewError{Have: need - 1, Need: need, FPR: fpr}) {
			t.Errorf("rate %v with %d images: error %v, want one that asks for %d", fpr, need-1, err, need)
		}
		if !math.IsInf(threshold, 1) || c.Novel(1e300) {
			t.Errorf("rate %v with %d images: threshold %v, want infinity", fpr, need-1, threshold)
		}
	}
}

// Under the rate asked for, the calibration images themselves are called novel
// at most that often, and more often under a higher rate.
func TestRateOnCalibrationImages(t *testing.T) {
	p := fit(t, nil).CalibrationParts()
	last := 0
	for _, fpr := range []float64{.01, .05, .2, .5, .9} {
		c, err := nln.Calibrate(p, nln.Policy{K: 3, Alpha: .8, FPR: fpr})
		if err != nil {
			t.Fatal(err)
		}
		novel := 0
		for i := range p.Len() {
			if c.Score(p, i).Novel {
				novel++
			}
		}
		if share := float64(novel) / float64(p.Len()); share > fpr || novel < last || fpr > .04 && novel == 0 {
			t.Errorf("rate %v: %d of %d calibration images novel, %d under the rate before", fpr, novel, p.Len(), last)
		}
		last = novel
	}
}

func TestFixedThreshold(t *testing.T) {
	terms := []float64{0, 1, 2, 3, 4}
	limit := .6
	c, err := nln.Calibrate(parts(terms, terms), nln.Policy{K: 1, Alpha: .5, FPR: .01, Threshold: &limit})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Threshold(); got != limit || err != nil {
		t.Errorf("Threshold = %v, %v, want %v", got, err, limit)
	}
	p := parts(slices.Clone(terms), slices.Clone(terms))
	for i, want := range []bool{false, false, false, true, true} {
		if s := c.Score(p, i); s.Novel != want || s.P != float64(6-i)/6 {
			t.Errorf("image %d: score %v, p %v, novel %v, want p %v, novel %v", i, s.Score, s.P, s.Novel, float64(6-i)/6, want)
		}
	}
}

func TestCalibrateErrors(t *testing.T) {
	good := parts([]float64{1, 2}, []float64{3, 4})
	nan := math.NaN()
	for name, c := range map[string]struct {
		parts  nln.Parts
		policy nln.Policy
		want   string
	}{
		"K 0":           {good, nln.Policy{K: 0, FPR: .1}, "K is 0"},
		"K 2":           {good, nln.Policy{K: 2, FPR: .1}, "K is 2 but 1"},
		"alpha -1":      {good, nln.Policy{K: 1, Alpha: -1, FPR: .1}, "alpha is -1"},
		"alpha NaN":     {good, nln.Policy{K: 1, Alpha: nan, FPR: .1}, "alpha is NaN"},
		"rate 0":        {good, nln.Policy{K: 1}, "rate is 0"},
		"rate 1":        {good, nln.Policy{K: 1, FPR: 1}, "rate is 1"},
		"rate NaN":      {good, nln.Policy{K: 1, FPR: nan}, "rate is NaN"},
		"threshold NaN": {good, nln.Policy{K: 1, FPR: .1, Threshold: &nan}, "threshold is NaN"},
		"space":         {good, nln.Policy{K: 1, FPR: .1, Space: "code"}, `space is "code" but only ["image"]`},
		"no images":     {nln.Parts{}, nln.Policy{K: 1, FPR: .1}, "no images"},
		"bad parts":     {parts([]float64{nan}, []float64{1}), nln.Policy{K: 1, FPR: .1}, "image 0"},
	} {
		_, err := nln.Calibrate(c.parts, c.policy)
		wantError(t, name, err, "nln: ", c.want)
	}
}
