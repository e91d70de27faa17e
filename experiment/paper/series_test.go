package paper

import (
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

var miso = task{mnist, dataset.MISO}

// record returns one of AE on MNIST with totals over one neighbour by alpha, under
// both protocols.
func record(class string, latent int, seed uint64, recon float64, totals map[float64]float64) experiment.Record {
	rec := experiment.Record{Cell: experiment.Cell{Data: mnist, Protocol: dataset.MISO, Class: class, Method: ae, Latent: latent, Seed: seed}}
	for _, p := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
		rec.Results = append(rec.Results, nln.Result{Protocol: p, Score: nln.ScoreRecon, Alpha: 1, AUROC: recon, Lo: recon - .02, Hi: recon + .02})
		for a, v := range totals {
			rec.Results = append(rec.Results, nln.Result{Protocol: p, Score: nln.ScoreTotal, K: 1, Alpha: a, AUROC: v})
		}
	}
	return rec
}

// TestLeaveOneOut is a case by hand. Means over all classes: alpha 0.2 has 0.7, alpha
// 0.8 has 0.8. Without class 2 they are 0.8 and 0.7, so class 2 gets alpha 0.2 and with
// it 0.5, while the other classes get alpha 0.8.
func TestLeaveOneOut(t *testing.T) {
	ix := newIndex([]experiment.Record{
		record("0", 32, 0, .5, map[float64]float64{.2: .8, .8: .7}),
		record("1", 32, 0, .5, map[float64]float64{.2: .8, .8: .7}),
		record("2", 32, 0, .5, map[float64]float64{.2: .5, .8: 1}),
	})
	sel := ix.selectFrom(miso, nln.ProtocolHeldOut, ix.candidates(miso, nln.ProtocolHeldOut, nln.ScoreTotal, ae))
	best, s, ok := sel.best()
	if !ok || best.alpha != .8 || !near(s.mean(), .8, rounding) {
		t.Errorf("best is %v with %v, want alpha 0.8 with 0.8", best, s.mean())
	}
	left, chosen := sel.leaveOneOut()
	var alphas, values []float64
	for i, v := range left {
		alphas, values = append(alphas, chosen[i].alpha), append(values, v.mean)
	}
	if want := []float64{.8, .8, .2}; !slices.Equal(alphas, want) {
		t.Errorf("chosen %v, want %v", alphas, want)
	}
	if want := []float64{.7, .7, .5}; !slices.Equal(values, want) {
		t.Errorf("values %v, want %v", values, want)
	}
	if most, n := commonest(chosen); most.alpha != .8 || n != 2 {
		t.Errorf("most chosen: %v, %d times, want alpha 0.8 twice", most, n)
	}
	one := selection{choices: sel.choices, series: []series{sel.series[0][:1], sel.series[1][:1]}}
	if s, _ := one.leaveOneOut(); s != nil {
		t.Errorf("one class: %v, want nothing", s)
	}
}

// TestSelectsOverEqualClasses makes sure that a choice with fewer classes, such as the
// easier ones, is not compared with one that has all.
func TestSelectsOverEqualClasses(t *testing.T) {
	ix := newIndex([]experiment.Record{
		record("0", 16, 0, .9, nil), // the easy class alone
		record("0", 32, 0, .8, nil),
		record("1", 32, 0, .6, nil),
	})
	c, s, ok := ix.selectFrom(miso, nln.ProtocolPaper, ix.candidates(miso, nln.ProtocolPaper, nln.ScoreRecon, ae)).best()
	if !ok || c.latent != 32 || !near(s.mean(), .7, rounding) {
		t.Errorf("best is %v with %v, want L = 32 with 0.7", c, s.mean())
	}
	if _, _, ok := (selection{}).best(); ok {
		t.Error("a best of nothing")
	}
}

func TestSeeds(t *testing.T) {
	ix := newIndex([]experiment.Record{
		record("0", 32, 0, .8, nil), record("0", 32, 1, .9, nil),
		record("1", 32, 0, .6, nil), record("1", 32, 1, .7, nil), record("1", 32, 2, .8, nil),
	})
	s := ix.series(miso, nln.ProtocolPaper, recon(ae, 32))
	if !near(s.mean(), .775, rounding) {
		t.Errorf("mean %v, want that of 0.85 and 0.7", s.mean())
	}
	seeds, means := s.bySeed()
	if !slices.Equal(seeds, []uint64{0, 1}) || !near(means[0], .7, rounding) || !near(means[1], .8, rounding) {
		t.Errorf("by seed: %v, %v, want 0 and 1 with 0.7 and 0.8", seeds, means)
	}
	if want := .1 / 1.4142135623730951; !near(s.sd(), want, rounding) {
		t.Errorf("sd %v, want %v", s.sd(), want)
	}
	if s.seeds() != 2 || !near(s[0].half, .02, rounding) {
		t.Errorf("%d seeds, half-width %v, want 2 and 0.02", s.seeds(), s[0].half)
	}
	sh := &sheet{}
	if got, want := sh.mean(miso, "", "", s, ""), "0.775 ± 0.071 (2 of 10)"; got != want {
		t.Errorf("cell %q, want %q", got, want)
	}
	if got := sh.mean(miso, "", "", nil, ""); got != missing {
		t.Errorf("cell of nothing: %q", got)
	}
}

// TestFlipped makes sure that 1-0.9 finds what was evaluated at 0.1, and that the ends
// of a total are its terms.
func TestFlipped(t *testing.T) {
	rec := record("0", 32, 0, .5, map[float64]float64{.1: .6, .9: .8})
	rec.Results = append(rec.Results,
		nln.Result{Protocol: nln.ProtocolPaper, Score: nln.ScoreDistance, K: 1, AUROC: .55},
		nln.Result{Protocol: nln.ProtocolPaper, Score: nln.ScoreError, K: 1, Alpha: 1, AUROC: .75},
		nln.Result{Protocol: nln.ProtocolPaper, Score: "error:image", K: 1, Alpha: 1, AUROC: .45})
	ix := newIndex([]experiment.Record{rec})
	at := func(score string, alpha float64) float64 {
		return ix.series(miso, nln.ProtocolPaper, choice{ae, 32, score, 1, alpha}).mean()
	}
	c := choice{ae, 32, nln.ScoreTotal, 1, .9}
	if got := ix.series(miso, nln.ProtocolPaper, c.flipped()).mean(); got != .6 {
		t.Errorf("alpha 0.9 flipped: %v, want 0.6", got)
	}
	if got := c.flipped().flipped(); millionths(got.alpha) != millionths(c.alpha) {
		t.Errorf("flipped twice: %v", got.alpha)
	}
	for _, x := range []struct {
		score string
		alpha float64
		want  float64
	}{{nln.ScoreTotal, 1, .75}, {nln.ScoreTotal, 0, .55}, {"total:image", 1, .45}, {"total:image", 0, .55}} {
		if got := at(x.score, x.alpha); got != x.want {
			t.Errorf("%s at %v: %v, want %v", x.score, x.alpha, got, x.want)
		}
	}
	if s := c.flipped().String(); !strings.Contains(s, "alpha 0.1 of the error, 0.9 of the distance") {
		t.Errorf("%q does not have both readings", s)
	}
}

func TestIncrease(t *testing.T) {
	p := pair{recon: series{{class: "0", mean: .79}}, nln: series{{class: "0", mean: .92}}}
	paper, usual := p.increase(1)
	if paper != "14.13" || usual != "16.46" {
		t.Errorf("0.79 to 0.92: %s and %s, want 14.13 and 16.46", paper, usual)
	}
	p = pair{recon: series{{class: "0", mean: .8}}, nln: series{{class: "0", mean: .7}}}
	if paper, usual = p.increase(10); paper != "−14.29 (1 of 10)" || usual != "−12.50 (1 of 10)" {
		t.Errorf("0.8 to 0.7: %s and %s", paper, usual)
	}
	if paper, _ = (pair{}).increase(10); paper != missing {
		t.Errorf("nothing: %s", paper)
	}
}

// TestSetups makes sure that numbers of unlike cells are never averaged.
func TestSetups(t *testing.T) {
	few := record("1", 32, 0, .1, nil)
	few.Cell.TrainImages = 100
	ix := newIndex([]experiment.Record{few, record("0", 32, 0, .8, nil), record("1", 32, 0, .6, nil)})
	if s := ix.series(miso, nln.ProtocolPaper, recon(ae, 32)); !near(s.mean(), .7, rounding) {
		t.Errorf("mean %v, want that of 0.8 and 0.6", s.mean())
	}
	notes := strings.Join(ix.provenance(miso, ae), "\n")
	if !strings.Contains(notes, "Left out") || !strings.Contains(notes, "1 record with at most 100 training images") {
		t.Errorf("the notes do not say what was left out:\n%s", notes)
	}
	// The same cell with another list of alphas adds to it.
	ix = newIndex([]experiment.Record{record("0", 32, 0, .8, map[float64]float64{.5: .1}), record("0", 32, 0, .8, map[float64]float64{.6: .2})})
	if runs := ix.runs[model{miso, ae, 32}]; len(runs) != 1 || len(runs[0].images) != 6 {
		t.Errorf("two records of one cell are %d runs", len(runs))
	}
}

func TestVerdict(t *testing.T) {
	all := series{}
	for range 10 {
		all = append(all, classValue{mean: .9})
	}
	for _, c := range []struct {
		s         series
		published float64
		want      string
	}{
		{all, .915, "−0.015, reproduced"},
		{all, .85, "+0.050, not reproduced"},
		{all[:4], .9, "0.000, classes missing"},
		{nil, .9, missing},
	} {
		if got := verdict(miso, c.s, c.published); got != c.want {
			t.Errorf("%d classes, published %v: %q, want %q", len(c.s), c.published, got, c.want)
		}
	}
}

// TestPublished compares the numbers of table 5 with the means that the paper prints
// below them.
func TestPublished(t *testing.T) {
	printed := map[bool][5]float64{true: {.70, .78, .83, .81, .75}, false: {.88, .91, .92, .89, .93}}
	for texture, want := range printed {
		var sum [5]float64
		n := 0
		for _, c := range categories {
			if c.texture == texture {
				n++
				for i, v := range c.auroc {
					sum[i] += v
				}
			}
		}
		for i := range sum {
			const half = .005 + rounding // they print two decimals
			if !near(sum[i]/float64(n), want[i], half) {
				t.Errorf("textures %v, %s: mean %v, printed %v", texture, table5Columns[i], sum[i]/float64(n), want[i])
			}
		}
	}
	for number, rows := range quotedRows {
		for _, r := range rows {
			if len(r.auroc) != len(bestTasks(number)) {
				t.Errorf("table %d, %s has %d numbers, want %d", number, r.method, len(r.auroc), len(bestTasks(number)))
			}
		}
	}
}
