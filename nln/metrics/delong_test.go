package metrics_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

// The interval must hold the true value about as often as it says. For scores
// that are normal with means 1 and 0, the AUROC is Phi(1/sqrt 2).
func TestDeLongCoverage(t *testing.T) {
	const (
		level, sets = .9, 2000
		// Four standard deviations of the count of sets, and the method's own
		// error at 30 images, of about one percent.
		slack = .04
	)
	want := (1 + math.Erf(.5)) / 2
	rng := rand.New(rand.NewPCG(7, 8))
	covered := 0
	for range sets {
		scores, novel := make([]float64, 60), make([]bool, 60)
		for i := range scores {
			scores[i] = rng.NormFloat64()
			if novel[i] = i%2 == 0; novel[i] {
				scores[i]++
			}
		}
		_, lo, hi, err := metrics.DeLong(scores, novel, level)
		if err != nil {
			t.Fatal(err)
		}
		if lo <= want && want <= hi {
			covered++
		}
	}
	if got := float64(covered) / sets; !near(got, level, slack) {
		t.Errorf("interval of level %v held the true AUROC in %v of %d sets", level, got, sets)
	}
}

func TestDeLongWithoutVariance(t *testing.T) {
	for i, c := range []struct {
		scores      []float64
		novel       []bool
		auc, lo, hi float64
	}{
		// Two disjoint pairs agree with chance auc^2, so lo^2 = .025.
		{[]float64{1, 2, 3, 4, 5}, []bool{false, false, false, true, true}, 1, math.Sqrt(.025), 1},
		{[]float64{5, 4, 3, 2, 1}, []bool{false, false, false, true, true}, 0, 0, 1 - math.Sqrt(.025)},
		{[]float64{1, 2, 3}, []bool{false, true, false}, .5, 0, 1},
		{[]float64{7, 7, 7, 7}, []bool{false, true, true, false}, .5, .5, .5},
	} {
		auc, lo, hi, err := metrics.DeLong(c.scores, c.novel, .95)
		if err != nil || auc != c.auc || !near(lo, c.lo, tol) || !near(hi, c.hi, tol) {
			t.Errorf("case %d: DeLong = %v [%v, %v], %v, want %v [%v, %v]", i, auc, lo, hi, err, c.auc, c.lo, c.hi)
		}
	}
}

// The same set at a higher level or with fewer images has a wider interval.
func TestDeLongWidth(t *testing.T) {
	scores, novel := random(rand.New(rand.NewPCG(9, 10)), 200, 50)
	width := func(n int, level float64) float64 {
		_, lo, hi, err := metrics.DeLong(scores[:n], novel[:n], level)
		if err != nil {
			t.Fatal(err)
		}
		return hi - lo
	}
	if a, b := width(200, .9), width(200, .99); a >= b {
		t.Errorf("width %v at level .9, %v at .99", a, b)
	}
	if a, b := width(200, .95), width(30, .95); a >= b {
		t.Errorf("width %v with 200 images, %v with 30", a, b)
	}
}

func BenchmarkDeLong(b *testing.B) {
	scores, novel := random(rand.New(rand.NewPCG(13, 14)), 10000, 1<<20)
	for b.Loop() {
		if _, _, _, err := metrics.DeLong(scores, novel, .95); err != nil {
			b.Fatal(err)
		}
	}
}
