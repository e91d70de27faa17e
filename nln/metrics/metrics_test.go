package metrics_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/nlnctl/nlnctl/nln/metrics"
)

const (
	// tol is for numbers computed in another order in float64: sums of at most
	// some hundred terms near 1.
	tol = 1e-12

	// erfTol is for the normal quantile, for which Go and scipy use other
	// approximations.
	erfTol = 1e-10
)

func near(a, b, tol float64) bool { return a == b || math.Abs(a-b) <= tol }

// pairs compares each novel image with each normal one: the definition.
func pairs(scores []float64, novel []bool) float64 {
	var sum, n float64
	for i, s := range scores {
		for j, t := range scores {
			if !novel[i] || novel[j] {
				continue
			}
			n++
			if s > t {
				sum++
			} else if s == t {
				sum += .5
			}
		}
	}
	return sum / n
}

// averageRanks is the formula with ranks, each counted one by one.
func averageRanks(scores []float64, novel []bool) float64 {
	var sum, p, n float64
	for i, s := range scores {
		if !novel[i] {
			n++
			continue
		}
		p++
		var less, equal float64
		for _, t := range scores {
			if t < s {
				less++
			} else if t == s {
				equal++
			}
		}
		sum += less + (equal+1)/2
	}
	return (sum - p*(p+1)/2) / (p * n)
}

// random returns a set with both classes and many ties when levels is small.
func random(rng *rand.Rand, n, levels int) (scores []float64, novel []bool) {
	scores = make([]float64, n)
	novel = make([]bool, n)
	for i := range scores {
		novel[i] = i == 0 || i > 1 && rng.IntN(3) == 0
		scores[i] = float64(rng.IntN(levels))
		if novel[i] {
			scores[i] += float64(rng.IntN(levels)) / 2
		}
	}
	return scores, novel
}

func mustAUROC(t *testing.T, scores []float64, novel []bool) float64 {
	t.Helper()
	auc, err := metrics.AUROC(scores, novel)
	if err != nil {
		t.Fatal(err)
	}
	return auc
}

func TestAUROCKnownValues(t *testing.T) {
	inf := math.Inf(1)
	for i, c := range []struct {
		scores []float64
		novel  []bool
		want   float64
	}{
		{[]float64{.1, .4, .35, .8}, []bool{false, false, true, true}, .75},
		{[]float64{1, 1, 2}, []bool{false, true, true}, .75},
		{[]float64{3, 3, 3, 3, 3}, []bool{false, true, true, false, true}, .5},
		{[]float64{0, math.Copysign(0, -1)}, []bool{false, true}, .5},
		{[]float64{-inf, 7, inf, inf}, []bool{false, true, true, false}, .625},
		{[]float64{1, 2}, []bool{false, true}, 1},
		{[]float64{1, 2}, []bool{true, false}, 0},
	} {
		if got := mustAUROC(t, c.scores, c.novel); got != c.want {
			t.Errorf("case %d: AUROC(%v, %v) = %v, want %v", i, c.scores, c.novel, got, c.want)
		}
	}
}

// Numbers and the script that made them: testdata/expected.py.
func TestAgainstSklearn(t *testing.T) {
	data, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name                string
		Scores              []float64
		Novel               []bool
		AUROC, AP, Lo, Hi   float64
		FPR, TPR, Threshold []float64
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("no cases in testdata/expected.json")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if got := mustAUROC(t, c.Scores, c.Novel); !near(got, c.AUROC, tol) {
				t.Errorf("AUROC = %v, want %v", got, c.AUROC)
			}
			if got, err := metrics.AveragePrecision(c.Scores, c.Novel); err != nil || !near(got, c.AP, tol) {
				t.Errorf("AveragePrecision = %v, %v, want %v", got, err, c.AP)
			}
			auc, lo, hi, err := metrics.DeLong(c.Scores, c.Novel, .95)
			if err != nil || !near(auc, c.AUROC, tol) || !near(lo, c.Lo, erfTol) || !near(hi, c.Hi, erfTol) {
				t.Errorf("DeLong = %v [%v, %v], %v, want %v [%v, %v]", auc, lo, hi, err, c.AUROC, c.Lo, c.Hi)
			}
			points, err := metrics.ROC(c.Scores, c.Novel)
			if err != nil {
				t.Fatal(err)
			}
			if first := points[0]; first != (metrics.Point{Threshold: math.Inf(1)}) {
				t.Errorf("first point %v, want (0, 0) at infinity", first)
			}
			points = points[1:]
			if len(points) != len(c.Threshold) {
				t.Fatalf("%d points, want %d", len(points), len(c.Threshold))
			}
			for i, p := range points {
				if p.Threshold != c.Threshold[i] || !near(p.FPR, c.FPR[i], tol) || !near(p.TPR, c.TPR[i], tol) {
					t.Errorf("point %d = %v, want {%v %v %v}", i, p, c.Threshold[i], c.FPR[i], c.TPR[i])
				}
			}
		})
	}
}

func TestAUROCEqualsPairsAndRanks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		scores, novel := random(rng, 2+rng.IntN(40), 1+rng.IntN(12))
		got := mustAUROC(t, scores, novel)
		if want := pairs(scores, novel); !near(got, want, tol) {
			t.Fatalf("set %d: AUROC = %v, by pairs %v", i, got, want)
		}
		if want := averageRanks(scores, novel); !near(got, want, tol) {
			t.Fatalf("set %d: AUROC = %v, by average ranks %v", i, got, want)
		}
	}
}

func TestAUROCIsAreaUnderROC(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 50 {
		scores, novel := random(rng, 2+rng.IntN(60), 1+rng.IntN(20))
		points, err := metrics.ROC(scores, novel)
		if err != nil {
			t.Fatal(err)
		}
		var area float64
		for k := 1; k < len(points); k++ {
			area += (points[k].FPR - points[k-1].FPR) * (points[k].TPR + points[k-1].TPR) / 2
		}
		if want := mustAUROC(t, scores, novel); !near(area, want, tol) {
			t.Fatalf("set %d: trapezoidal area %v, AUROC %v", i, area, want)
		}
		if last := points[len(points)-1]; last.FPR != 1 || last.TPR != 1 {
			t.Fatalf("set %d: last point %v, want (1, 1)", i, last)
		}
	}
}

// Relations that hold whatever the numbers are.
func TestRelations(t *testing.T) {
	type measures struct{ auc, lo, hi, ap float64 }
	measure := func(scores []float64, novel []bool) (m measures) {
		var err error
		if m.auc, m.lo, m.hi, err = metrics.DeLong(scores, novel, .9); err != nil {
			t.Fatal(err)
		}
		if auc := mustAUROC(t, scores, novel); auc != m.auc {
			t.Fatalf("DeLong gives AUROC %v, AUROC %v", m.auc, auc)
		}
		if m.ap, err = metrics.AveragePrecision(scores, novel); err != nil {
			t.Fatal(err)
		}
		return m
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 100 {
		scores, novel := random(rng, 4+rng.IntN(60), 1+rng.IntN(20))
		want := measure(scores, novel)
		if !(0 <= want.lo && want.lo <= want.auc && want.auc <= want.hi && want.hi <= 1) {
			t.Fatalf("set %d: interval [%v, %v] around %v", i, want.lo, want.hi, want.auc)
		}

		s, y := append([]float64(nil), scores...), append([]bool(nil), novel...)
		rng.Shuffle(len(s), func(a, b int) { s[a], s[b] = s[b], s[a]; y[a], y[b] = y[b], y[a] })
		if got := measure(s, y); got != want {
			t.Errorf("set %d: shuffled %v, want %v", i, got, want)
		}

		for k, v := range scores {
			s[k] = math.Exp(v/4) - 100 // strictly increasing
		}
		if got := measure(s, novel); got != want {
			t.Errorf("set %d: transformed %v, want %v", i, got, want)
		}

		for k, v := range scores {
			s[k] = -v
		}
		if got := measure(s, novel).auc + want.auc; !near(got, 1, tol) {
			t.Errorf("set %d: AUC(s) + AUC(-s) = %v, want 1", i, got)
		}

		twice := measure(append(scores, scores...), append(novel, novel...))
		if !near(twice.auc, want.auc, tol) || !near(twice.ap, want.ap, tol) {
			t.Errorf("set %d: each image twice: AUROC %v, precision %v, want %v, %v", i, twice.auc, twice.ap, want.auc, want.ap)
		}
	}
}

func TestYoudenAndIoU(t *testing.T) {
	// J is 1/2 at .9 and at .3; the first from above counts.
	scores, mask := []float64{.9, .8, .3, .2}, []bool{true, false, true, false}
	want := metrics.Cut{Threshold: .9, FPR: 0, TPR: .5, IoU: .5}
	if got, err := metrics.Youden(scores, mask); err != nil || got != want {
		t.Errorf("Youden = %+v, %v, want %+v", got, err, want)
	}
	want = metrics.Cut{Threshold: .3, FPR: .5, TPR: 1, IoU: 2. / 3}
	if got, err := metrics.F1Max(scores, mask); err != nil || got != want || !near(got.F1(), .8, tol) {
		t.Errorf("F1Max = %+v, F1 %v, %v, want %+v, F1 .8", got, got.F1(), err, want)
	}
	if got, err := metrics.IoU(scores, mask, .3); err != nil || got != 2./3 {
		t.Errorf("IoU at .3 = %v, %v, want 2/3", got, err)
	}
	if got, err := metrics.IoU(scores, mask, 1); err != nil || got != 0 {
		t.Errorf("IoU at 1 = %v, %v, want 0", got, err)
	}
	if _, err := metrics.IoU([]float64{1, 2}, []bool{false, false}, 3); !errors.Is(err, metrics.ErrOneClass) {
		t.Errorf("IoU of nothing: error %v, want ErrOneClass", err)
	}
}

// Youden against every threshold in turn, and its IoU against the function.
func TestYoudenIsLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for i := range 100 {
		scores, novel := random(rng, 2+rng.IntN(40), 1+rng.IntN(10))
		got, err := metrics.Youden(scores, novel)
		if err != nil {
			t.Fatal(err)
		}
		points, err := metrics.ROC(scores, novel)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range points[1:] {
			if j := p.TPR - p.FPR; j > got.TPR-got.FPR+tol || p.Threshold > got.Threshold && near(j, got.TPR-got.FPR, tol) {
				t.Fatalf("set %d: Youden %+v, but %+v", i, got, p)
			}
		}
		if iou, err := metrics.IoU(scores, novel, got.Threshold); err != nil || iou != got.IoU {
			t.Fatalf("set %d: IoU %v, %v, in cut %v", i, iou, err, got.IoU)
		}
	}
}

// F1Max against every threshold in turn, with F1 from precision and recall.
func TestF1MaxIsLargest(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	for i := range 100 {
		scores, novel := random(rng, 2+rng.IntN(40), 1+rng.IntN(10))
		got, err := metrics.F1Max(scores, novel)
		if err != nil {
			t.Fatal(err)
		}
		var best, at float64
		for _, threshold := range scores {
			var tp, called, all float64
			for k, s := range scores {
				if s >= threshold {
					called++
				}
				if novel[k] {
					all++
				}
				if s >= threshold && novel[k] {
					tp++
				}
			}
			precision, recall := tp/called, tp/all
			f1 := 2 * precision * recall / max(precision+recall, tol)
			if f1 > best+tol || near(f1, best, tol) && threshold > at {
				best, at = f1, threshold
			}
		}
		if got.Threshold != at || !near(got.F1(), best, tol) {
			t.Fatalf("set %d: F1Max %+v, F1 %v, want %v at %v", i, got, got.F1(), best, at)
		}
		if iou, err := metrics.IoU(scores, novel, at); err != nil || iou != got.IoU {
			t.Fatalf("set %d: IoU %v, %v, in cut %v", i, iou, err, got.IoU)
		}
	}
}

func TestPercentIncrease(t *testing.T) {
	const cent = .005 // the expected numbers have two decimals
	if got := metrics.PercentIncreasePaper(.79, .92); !near(got, 14.13, cent) {
		t.Errorf("by the authors' formula %v, want 14.13", got)
	}
	if got := metrics.PercentIncrease(.79, .92); !near(got, 16.46, cent) {
		t.Errorf("conventional %v, want 16.46", got)
	}
}

func TestErrors(t *testing.T) {
	all := map[string]func([]float64, []bool) error{
		"auroc":             func(s []float64, y []bool) error { _, err := metrics.AUROC(s, y); return err },
		"roc":               func(s []float64, y []bool) error { _, err := metrics.ROC(s, y); return err },
		"average precision": func(s []float64, y []bool) error { _, err := metrics.AveragePrecision(s, y); return err },
		"delong":            func(s []float64, y []bool) error { _, _, _, err := metrics.DeLong(s, y, .95); return err },
		"youden":            func(s []float64, y []bool) error { _, err := metrics.Youden(s, y); return err },
		"f1max":             func(s []float64, y []bool) error { _, err := metrics.F1Max(s, y); return err },
	}
	for name, f := range all {
		for _, c := range []struct {
			scores []float64
			novel  []bool
			want   string
		}{
			{[]float64{1, math.NaN()}, []bool{true, false}, "metrics: " + name + ": score 1 is NaN"},
			{[]float64{1}, []bool{true, false}, "metrics: " + name + ": 1 scores, 2 labels"},
			{[]float64{1, 2}, []bool{true, true}, "metrics: " + name + ": 2 novel of 2 images: need both normal and novel images"},
			{[]float64{1, 2}, []bool{false, false}, "metrics: " + name + ": 0 novel of 2 images: need both normal and novel images"},
			{nil, nil, "metrics: " + name + ": 0 novel of 0 images: need both normal and novel images"},
		} {
			if err := f(c.scores, c.novel); err == nil || err.Error() != c.want {
				t.Errorf("error %q, want %q", err, c.want)
			}
		}
		if err := f([]float64{1}, []bool{true}); !errors.Is(err, metrics.ErrOneClass) {
			t.Errorf("%s: one class: error %v is not ErrOneClass", name, err)
		}
	}
	for _, level := range []float64{0, 1, -1, 95, math.NaN()} {
		if _, _, _, err := metrics.DeLong([]float64{1, 2}, []bool{true, false}, level); err == nil {
			t.Errorf("level %v: no error", level)
		}
	}
}
