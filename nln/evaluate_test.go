package nln_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

// randomParts returns parts of n images with k neighbours, novel ones larger.
func randomParts(seed uint64, n, k int) (nln.Parts, []bool) {
	rng := rand.New(rand.NewPCG(seed, 5))
	p := nln.Parts{K: k, IDs: make([]int64, n*k), Spaces: inImage(nil, n)}
	novel := make([]bool, n)
	for i := range n {
		shift := 0.
		if novel[i] = i%3 == 0; novel[i] {
			shift = .5
		}
		p.Recon = append(p.Recon, rng.Float64()+shift/2)
		for range k {
			p.Spaces[0].Mean = append(p.Spaces[0].Mean, .3*(rng.Float64()+shift))
			p.Distance = append(p.Distance, 7*(rng.Float64()+shift))
			p.Spacing = append(p.Spacing, .5+rng.Float64())
			p.Dist = append(p.Dist, float32(7*(rng.Float64()+shift)))
		}
		slices.Sort(p.Dist[i*k:])
	}
	return p, novel
}

var (
	evalKs     = []int{1, 3}
	evalAlphas = []float64{0, .25, .8, 1}
)

func evaluate(t *testing.T, test nln.Parts, novel []bool, calib nln.Parts) []nln.Result {
	t.Helper()
	r, err := nln.Evaluate(test, novel, calib, evalKs, evalAlphas)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// find returns the one result of a combination.
func find(t *testing.T, results []nln.Result, protocol, score string, k int, alpha float64) nln.Result {
	t.Helper()
	var found []nln.Result
	for _, r := range results {
		if r.Protocol == protocol && r.Score == score && r.K == k && r.Alpha == alpha {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d results for %s %s with K %d and alpha %v, want 1", len(found), protocol, score, k, alpha)
	}
	return found[0]
}

// slowScores computes a score from the definition; r is from the images whose
// ranges scale the terms.
func slowScores(test, r nln.Parts, score string, k int, alpha float64) []float64 {
	s := make([]float64, test.Len())
	unit := func(v float64, all []float64) float64 {
		lo, hi := all[0], all[0]
		for _, a := range all {
			lo, hi = math.Min(lo, a), math.Max(hi, a)
		}
		return (v - lo) / (hi - lo)
	}
	for i := range s {
		switch score {
		case nln.ScoreRecon:
			s[i] = test.Recon[i]
		case nln.ScoreError:
			s[i] = test.Spaces[0].Mean[i*test.K+k-1]
		case nln.ScoreLocal, nln.ScoreProduct:
			var sum float64
			for _, d := range test.Dist[i*test.K : i*test.K+k] {
				sum += float64(d)
			}
			s[i] = sum / float64(k) / math.Sqrt(test.Spacing[i*test.K+k-1])
			if score == nln.ScoreProduct {
				s[i] *= test.Recon[i]
			}
		case nln.ScoreDistance:
			s[i] = test.Distance[i*test.K+k-1]
		case nln.ScoreTotal:
			s[i] = alpha*unit(test.Spaces[0].Mean[i*test.K+k-1], r.Errors(k)) + (1-alpha)*unit(test.Distance[i*test.K+k-1], r.Distances(k))
		case nln.ScoreSum3:
			s[i] = unit(test.Spaces[0].Mean[i*test.K+k-1], r.Errors(k)) + unit(test.Distance[i*test.K+k-1], r.Distances(k)) + unit(test.Recon[i], r.Recon)
		}
	}
	return s
}

func TestEvaluateEqualsDefinition(t *testing.T) {
	test, novel := randomParts(1, 90, 4)
	calib, _ := randomParts(2, 30, 3)
	results := evaluate(t, test, novel, calib)
	if want := 2 * (1 + len(evalKs)*(5+len(evalAlphas))); len(results) != want {
		t.Errorf("%d results, want %d", len(results), want)
	}
	for protocol, scale := range map[string]nln.Parts{nln.ProtocolPaper: test, nln.ProtocolHeldOut: calib} {
		check := func(score string, k int, alpha float64, rho float64) {
			t.Helper()
			got := find(t, results, protocol, score, k, alpha)
			auc, lo, hi, err := metrics.DeLong(slowScores(test, scale, score, k, alpha), novel, .95)
			if err != nil {
				t.Fatal(err)
			}
			if got.AUROC != auc || got.Lo != lo || got.Hi != hi {
				t.Errorf("%+v, want AUROC %v [%v, %v]", got, auc, lo, hi)
			}
			if finite := !math.IsInf(rho, 0) && !math.IsNaN(rho); finite != (got.Rho != nil) || finite && math.Abs(*got.Rho-rho) > sumTol {
				t.Errorf("%+v: rho, want %v", got, rho)
			}
		}
		check(nln.ScoreRecon, 0, 1, math.NaN())
		for _, k := range evalKs {
			check(nln.ScoreError, k, 1, 0)
			check(nln.ScoreDistance, k, 0, math.Inf(1))
			check(nln.ScoreLocal, k, 0, math.NaN())
			check(nln.ScoreProduct, k, 0, math.NaN())
			check(nln.ScoreSum3, k, 0, math.NaN())
			e, d := nln.RangeOf(scale.Errors(k)), nln.RangeOf(scale.Distances(k))
			for _, alpha := range evalAlphas {
				check(nln.ScoreTotal, k, alpha, (1-alpha)/alpha*(e.Max-e.Min)/(d.Max-d.Min))
			}
		}
	}
}

// The ends of alpha are the single terms, and the two protocols differ.
func TestEvaluateEnds(t *testing.T) {
	test, novel := randomParts(1, 90, 4)
	calib, _ := randomParts(2, 30, 4)
	calib.Spaces[0].Mean[0] = 4 // weighs the error less
	results := evaluate(t, test, novel, calib)
	for _, protocol := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
		for _, k := range evalKs {
			if a, b := find(t, results, protocol, nln.ScoreTotal, k, 1), find(t, results, protocol, nln.ScoreError, k, 1); a.AUROC != b.AUROC {
				t.Errorf("%s: total with alpha 1 %v, error %v", protocol, a.AUROC, b.AUROC)
			}
			if a, b := find(t, results, protocol, nln.ScoreTotal, k, 0), find(t, results, protocol, nln.ScoreDistance, k, 0); a.AUROC != b.AUROC {
				t.Errorf("%s: total with alpha 0 %v, distance %v", protocol, a.AUROC, b.AUROC)
			}
		}
	}
	a, b := find(t, results, nln.ProtocolPaper, nln.ScoreTotal, 1, .8), find(t, results, nln.ProtocolHeldOut, nln.ScoreTotal, 1, .8)
	if *a.Rho == *b.Rho || a.AUROC == b.AUROC {
		t.Errorf("protocols agree on rho %v and AUROC %v although their ranges differ", *a.Rho, a.AUROC)
	}
}

// Constants added to either term, or a factor on one or both, change no AUROC:
// min-max undoes them. Whole numbers keep the arithmetic exact.
func TestRankInvariance(t *testing.T) {
	test, novel := randomParts(1, 90, 3)
	calib, _ := randomParts(2, 30, 3)
	type affine struct{ offset, factor float64 }
	whole := func(p nln.Parts, e, d affine) nln.Parts {
		q := p
		q.Distance, q.Spaces = nil, inImage(nil, p.Len())
		for i, v := range p.Spaces[0].Mean {
			q.Spaces[0].Mean = append(q.Spaces[0].Mean, e.offset+e.factor*math.Round(64*v))
			q.Distance = append(q.Distance, d.offset+d.factor*math.Round(8*p.Distance[i]))
		}
		return q
	}
	as := affine{0, 1}
	want := evaluate(t, whole(test, as, as), novel, whole(calib, as, as))
	for _, c := range []struct{ e, d affine }{
		{affine{1024, 1}, as}, {as, affine{1024, 1}}, {affine{1024, 1}, affine{512, 1}},
		{affine{0, 8}, as}, {as, affine{0, 8}}, {affine{512, 4}, affine{512, 4}}, {affine{0, .125}, affine{64, 16}},
	} {
		got := evaluate(t, whole(test, c.e, c.d), novel, whole(calib, c.e, c.d))
		for i := range want {
			if got[i].AUROC != want[i].AUROC || got[i].Lo != want[i].Lo {
				t.Errorf("error by %v, distance by %v: %+v, want AUROC %v", c.e, c.d, got[i], want[i].AUROC)
			}
		}
	}
}

func TestEvaluateWithoutCalibration(t *testing.T) {
	test, novel := randomParts(1, 90, 4)
	calib, _ := randomParts(2, 30, 4)
	got := evaluate(t, test, novel, nln.Parts{})
	if want := evaluate(t, test, novel, calib); !reflect.DeepEqual(got, want[:len(want)/2]) {
		t.Error("not the paper protocol's results alone")
	}
	for _, r := range got {
		if r.Protocol != nln.ProtocolPaper {
			t.Errorf("%+v without calibration images", r)
		}
	}
}

// Each space has the results that it has as the first, under its own names, and
// once what does not depend on the space.
func TestEvaluateSpaces(t *testing.T) {
	random := func(seed uint64, n int) (nln.Parts, []bool) {
		p, novel := randomParts(seed, n, 3)
		p.Spaces[0].Space = "eq8"
		for i, name := range []string{"code", nln.SpaceImage, nln.SpaceLatent} {
			q, _ := randomParts(seed+10*uint64(i+1), n, 3)
			p.Spaces = append(p.Spaces, nln.ErrorTerm{Space: name, Mean: q.Spaces[0].Mean, Own: q.Recon})
		}
		p.Spaces[0].Own = append([]float64{1}, p.Recon[1:]...)
		return p, novel
	}
	test, novel := random(1, 90)
	calib, _ := random(2, 30)
	calib, err := calib.In(nln.SpaceImage) // in another order than test
	if err != nil {
		t.Fatal(err)
	}
	all := evaluate(t, test, novel, calib)
	seen := 0
	for i, space := range test.SpaceNames() {
		first, err := test.In(space)
		if err != nil {
			t.Fatal(err)
		}
		first.Spaces = first.Spaces[:1]
		for _, want := range evaluate(t, first, novel, calib) {
			if ofNoSpace := []string{nln.ScoreDistance, nln.ScoreLocal, nln.ScoreProduct, nln.ScoreSum3, nln.ScoreRecon}; i > 0 && slices.Contains(ofNoSpace, want.Score) {
				continue
			}
			if i > 0 && (want.Score == nln.ScoreError || want.Score == nln.ScoreTotal) {
				want.Score = nln.InSpace(want.Score, space)
			}
			if got := find(t, all, want.Protocol, want.Score, want.K, want.Alpha); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, alone %+v", space, got, want)
			}
			seen++
		}
	}
	if seen != len(all) {
		t.Errorf("%d results, want %d", len(all), seen)
	}
	own, _, _, err := metrics.DeLong(test.Spaces[1].Own, novel, .95)
	if got := find(t, all, nln.ProtocolHeldOut, "recon:code", 0, 1); err != nil || got.AUROC != own {
		t.Errorf("%+v, want AUROC %v (%v)", got, own, err)
	}
	calib.Spaces = calib.Spaces[:2]
	_, err = nln.Evaluate(test, novel, calib, evalKs, evalAlphas)
	wantError(t, "calibration lacks a space", err, `"code"`, "calibration: ")
}

// Every result is valid JSON, with the fields that eval prints.
func TestResultJSON(t *testing.T) {
	test, novel := randomParts(1, 90, 4)
	data, err := json.Marshal(evaluate(t, test, novel, test))
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, field := range []string{"protocol", "score", "k", "alpha", "auroc", "lo", "hi"} {
			if _, ok := row[field]; !ok {
				t.Fatalf("%v has no %s", row, field)
			}
		}
	}
}

func TestEvaluateErrors(t *testing.T) {
	test, novel := randomParts(1, 9, 4)
	calib, _ := randomParts(2, 9, 2)
	bad, _ := randomParts(3, 9, 4)
	bad.Spaces[0].Mean[5] = math.NaN()
	for name, c := range map[string]struct {
		test, calib nln.Parts
		novel       []bool
		k           int
		alpha       float64
		want        string
	}{
		"K 0":       {test, calib, novel, 0, .5, "K is 0, want 1 to the 2"},
		"K 3":       {test, calib, novel, 3, .5, "K is 3, want 1 to the 2"},
		"alpha":     {test, calib, novel, 1, 1.1, "alpha is 1.1"},
		"labels":    {test, calib, novel[1:], 1, .5, "9 scores, 8 labels"},
		"bad test":  {bad, calib, novel, 1, .5, "image 1: error over 2 neighbours in space"},
		"bad calib": {test, bad, novel, 1, .5, "calibration: "},
	} {
		_, err := nln.Evaluate(c.test, c.novel, c.calib, []int{c.k}, []float64{c.alpha})
		wantError(t, name, err, "nln: evaluate: ", c.want)
	}
	if _, err := nln.Evaluate(test, make([]bool, 9), calib, evalKs[:1], evalAlphas); !errors.Is(err, metrics.ErrOneClass) {
		t.Errorf("one class: error %v is not ErrOneClass", err)
	}
}

// Beside the AUROC stand the average precision and the largest F1 of the same scores.
func TestEvaluateOtherMeasures(t *testing.T) {
	test, novel := randomParts(3, 60, 3)
	results := evaluate(t, test, novel, nln.Parts{})
	for score, values := range map[string][]float64{nln.ScoreDistance: test.Distances(3), nln.ScoreError: test.Errors(3)} {
		alpha := map[string]float64{nln.ScoreError: 1}[score]
		r := find(t, results, nln.ProtocolPaper, score, 3, alpha)
		ap, err := metrics.AveragePrecision(values, novel)
		if err != nil || r.AP != ap {
			t.Errorf("%s: average precision %v, want %v (%v)", score, r.AP, ap, err)
		}
		f1, err := metrics.F1Max(values, novel)
		if err != nil || r.F1 != f1.F1() || r.F1 <= 0 {
			t.Errorf("%s: F1 %v, want %v (%v)", score, r.F1, f1.F1(), err)
		}
	}
}
