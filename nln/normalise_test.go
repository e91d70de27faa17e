package nln_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

var normalises = []string{"", nln.NormaliseMinMax, nln.NormaliseRobust, nln.NormaliseZScore, nln.NormaliseNone}

// slowUnit normalises v by what all are, from the definition.
func slowUnit(how string, v float64, all []float64) float64 {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	n := len(sorted)
	at := func(q float64) float64 {
		h := q * float64(n-1)
		below, above := int(math.Floor(h)), int(math.Ceil(h))
		return (float64(above)-h)*sorted[below] + (1-(float64(above)-h))*sorted[above]
	}
	var b, s float64
	switch how {
	case nln.NormaliseNone:
		return v
	case nln.NormaliseRobust:
		b, s = at(.005), at(.995)-at(.005)
	case nln.NormaliseZScore:
		var squares float64
		for _, x := range all {
			b += x / float64(n)
		}
		for _, x := range all {
			squares += math.Pow(x-b, 2) / float64(n)
		}
		s = math.Sqrt(squares)
	default:
		b, s = sorted[0], sorted[n-1]-sorted[0]
	}
	if sorted[0] == sorted[n-1] || s == 0 {
		return 0
	}
	return (v - b) / s
}

// unitTol is for a quotient of float64 differences of values near 1, each the
// sum of some hundred terms.
const unitTol = 1e-11

func TestNormaliseEqualsDefinition(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{1, 2, 3, 90, 201, 1000} {
		e, d := make([]float64, n), make([]float64, n)
		for i := range e {
			e[i], d[i] = .3*rng.Float64(), 7*math.Exp(rng.NormFloat64())
		}
		for _, how := range normalises {
			c, err := nln.Calibrate(parts(e, d), nln.Policy{K: 1, Alpha: .8, FPR: .5, Normalise: how})
			if err != nil {
				t.Fatal(err)
			}
			var scores, ranked []float64
			for i := range n {
				want := .8*slowUnit(how, e[i], e) + .2*slowUnit(how, d[i], d)
				got := c.Combine(e[i], d[i])
				if math.Abs(got-want) > unitTol*(1+math.Abs(want)) {
					t.Fatalf("seed %d: %q over %d images: Combine = %v, want %v", seed, how, n, got, want)
				}
				scores, ranked = append(scores, got), append(ranked, e[i]+c.Rho()*d[i])
			}
			// Scores rank as E + rho*D does: they are the same but for an offset
			// and a factor.
			if n < 3 {
				continue
			}
			factor := (scores[1] - scores[0]) / (ranked[1] - ranked[0])
			for i := range n {
				if want := scores[0] + factor*(ranked[i]-ranked[0]); math.Abs(scores[i]-want) > 1e3*unitTol*(1+math.Abs(want)) || !(factor > 0) {
					t.Fatalf("seed %d: %q over %d images: score %v, by rho %v (factor %v)", seed, how, n, scores[i], want, factor)
				}
			}
		}
	}
}

// The numbers of TestScoreMix under the other ways, by hand.
func TestNormaliseKnownValues(t *testing.T) {
	e, d := []float64{.10, .30, .20, .50}, []float64{1, 2, 4, 3}
	sdE, sdD := math.Sqrt(.021875), math.Sqrt(1.25)
	for how, want := range map[string][]float64{
		"":                  {0, .458333, .4375, .916667},
		nln.NormaliseMinMax: {0, .458333, .4375, .916667},
		nln.NormaliseZScore: {-.75*.175/sdE - .25*1.5/sdD, .75*.025/sdE - .25*.5/sdD, -.75*.075/sdE + .25*1.5/sdD, .75*.225/sdE + .25*.5/sdD},
		nln.NormaliseNone:   {.325, .725, 1.15, 1.125},
		// Percentiles at ranks .015 and 2.985 of 0 to 3: .1015 and .497, 1.015 and 3.985.
		nln.NormaliseRobust: {
			.75*(.10-.1015)/.3955 + .25*(1-1.015)/2.97, .75*(.30-.1015)/.3955 + .25*(2-1.015)/2.97,
			.75*(.20-.1015)/.3955 + .25*(4-1.015)/2.97, .75*(.50-.1015)/.3955 + .25*(3-1.015)/2.97,
		},
	} {
		c, err := nln.Calibrate(parts(e, d), nln.Policy{K: 1, Alpha: .75, FPR: .5, Normalise: how})
		if err != nil {
			t.Fatal(err)
		}
		for i := range e {
			if got := c.Combine(e[i], d[i]); math.Abs(got-want[i]) > mixTol {
				t.Errorf("%q: image %d: %v, want %v", how, i, got, want[i])
			}
		}
	}
}

// Two extreme images of two hundred change the range of all ways but the robust
// one.
func TestRangeBy(t *testing.T) {
	v := make([]float64, 201)
	for i := range v {
		v[200-i] = float64(i)
	}
	check := func(how string, want nln.Range) {
		t.Helper()
		if got, err := nln.RangeBy(how, v); err != nil || math.Abs(got.Min-want.Min) > 1e-9 || math.Abs(got.Max-want.Max) > 1e-9 {
			t.Errorf("%q: range %v (%v), want %v", how, got, err, want)
		}
	}
	check("", nln.Range{Min: 0, Max: 200})
	check(nln.NormaliseRobust, nln.Range{Min: 1, Max: 199})
	check(nln.NormaliseZScore, nln.Range{Min: 100, Max: 100 + math.Sqrt((201*201-1)/12.)})
	check(nln.NormaliseNone, nln.Range{Min: 0, Max: 1})
	v[0], v[200] = 1e9, -1e9
	check(nln.NormaliseRobust, nln.Range{Min: 1, Max: 199})
	check(nln.NormaliseMinMax, nln.Range{Min: -1e9, Max: 1e9})
	if v[0] != 1e9 || v[1] != 199 {
		t.Error("RangeBy sorted what it was given")
	}
	for _, how := range normalises {
		want := nln.Range{}
		if how == nln.NormaliseNone {
			want.Max = 1
		}
		if got, err := nln.RangeBy(how, nil); err != nil || got != want {
			t.Errorf("%q: range of nothing is %v (%v), want %v", how, got, err, want)
		}
	}
	_, err := nln.RangeBy("rank", v)
	wantError(t, "unknown way", err, `nln: normalise is "rank", want one of ["minmax" "robust" "zscore" "none"]`)
}

// A constant term counts 0 whatever its mean is rounded to, and nearly constant
// ones have no robust range. The plain sum knows no range.
func TestNormaliseConstantTerm(t *testing.T) {
	d := []float64{1, 2, 5}
	for _, how := range normalises {
		c, err := nln.Calibrate(parts([]float64{.2, .2, .2}, d), nln.Policy{K: 1, Alpha: .75, FPR: .5, Normalise: how})
		if err != nil {
			t.Fatal(err)
		}
		warned := strings.Contains(strings.Join(c.Warnings(), "\n"), "the error term is the same")
		for i := range d {
			want := .25 * slowUnit(how, d[i], d)
			if how == nln.NormaliseNone {
				want += .75 * .2
			}
			if got := c.Combine(.2, d[i]); math.Abs(got-want) > mixTol || warned != (how != nln.NormaliseNone) {
				t.Errorf("%q: image %d: %v, want %v; warned %v", how, i, got, want, warned)
			}
		}
	}
	nearly := slices.Repeat([]float64{3}, 1000)
	nearly[17] = 4
	c, err := nln.Calibrate(parts(nearly, nearly), nln.Policy{K: 1, Alpha: 1, FPR: .5, Normalise: nln.NormaliseRobust})
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(c.Warnings(), "\n"); c.Combine(4, 4) != 0 || !strings.Contains(w, "the same for nearly all 1000") {
		t.Errorf("score %v, want 0; warnings %q", c.Combine(4, 4), w)
	}
}

// Under a policy the terms are scaled by its way, over the test images and over
// the calibration images, and the local score has its power.
func TestPolicyEvaluateEqualsDefinition(t *testing.T) {
	test, novel := randomParts(1, 90, 4)
	calib, _ := randomParts(2, 30, 3)
	for _, how := range normalises {
		policy := nln.Policy{K: 2, Alpha: .5, FPR: .1, Normalise: how, Local: nln.Local{Power: .25}}
		results, err := policy.Evaluate(test, novel, calib, evalKs, evalAlphas)
		if err != nil {
			t.Fatal(err)
		}
		for protocol, of := range map[string]nln.Parts{nln.ProtocolPaper: test, nln.ProtocolHeldOut: calib} {
			for _, k := range evalKs {
				for _, alpha := range evalAlphas {
					scores := make([]float64, test.Len())
					for i := range scores {
						scores[i] = alpha*slowUnit(how, test.E(i, k), of.Errors(k)) + (1-alpha)*slowUnit(how, test.D(i, k), of.Distances(k))
					}
					checkAUROC(t, fmt.Sprintf("%s, %q", protocol, how), find(t, results, protocol, nln.ScoreTotal, k, alpha), scores, novel)
				}
				local := make([]float64, test.Len())
				for i := range local {
					local[i] = test.Local(i, k, .25)
				}
				checkAUROC(t, "local", find(t, results, protocol, nln.ScoreLocal, k, 0), local, novel)
			}
		}
	}
}

func checkAUROC(t *testing.T, what string, got nln.Result, scores []float64, novel []bool) {
	t.Helper()
	want, err := metrics.AUROC(scores, novel)
	if err != nil {
		t.Fatal(err)
	}
	if got.AUROC != want {
		t.Errorf("%s: %+v, want AUROC %v", what, got, want)
	}
}

// The zero Normalise and Local are what the function Evaluate has, a policy with
// a radius is measured as Apply forms its terms, and errors name the step.
func TestPolicyEvaluate(t *testing.T) {
	test, novel := randomParts(1, 90, 4)
	calib, _ := randomParts(2, 30, 4)
	got, err := nln.Policy{K: 1, FPR: .1}.Evaluate(test, novel, calib, evalKs, evalAlphas)
	if err != nil {
		t.Fatal(err)
	}
	if want := evaluate(t, test, novel, calib); fmt.Sprint(plain(got)) != fmt.Sprint(plain(want)) {
		t.Error("the default policy gives other results than Evaluate")
	}
	radius := nln.Policy{K: 1, FPR: .1, Radius: 3}
	if got, err = radius.Evaluate(test, novel, calib, evalKs, evalAlphas); err != nil {
		t.Fatal(err)
	}
	a, err1 := radius.Apply(test)
	b, err2 := radius.Apply(calib)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if want := evaluate(t, a, novel, b); fmt.Sprint(plain(got)) != fmt.Sprint(plain(want)) {
		t.Error("a radius is not measured as Apply has it")
	}
	_, err = nln.Policy{K: 1, FPR: .1, Normalise: "rank"}.Evaluate(test, novel, calib, evalKs, evalAlphas)
	wantError(t, "unknown way", err, `nln: normalise is "rank"`)
	_, err = nln.Policy{K: 1, FPR: .1}.Evaluate(test, novel[1:], calib, evalKs, evalAlphas)
	wantError(t, "labels", err, "nln: evaluate: ", "90 scores, 89 labels")
	calib.IDs = nil
	_, err = nln.Policy{K: 1, FPR: .1}.Evaluate(test, novel, calib, evalKs, evalAlphas)
	wantError(t, "calibration", err, "nln: evaluate: calibration: ", "0 ids")
}

// plain returns results with the values behind their pointers.
func plain(results []nln.Result) (all []string) {
	for _, r := range results {
		rho := math.NaN()
		if r.Rho != nil {
			rho = *r.Rho
		}
		r.Rho = nil
		all = append(all, fmt.Sprintf("%+v rho %v", r, rho))
	}
	return all
}
