package nln_test

import (
	"context"
	"math"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// spacingTol is the relative rounding of a mean distance to float32.
const spacingTol = 0x1p-23

// slowLocal computes the local score from its definition: vectors are indexed,
// source tells whose copies each is, z is the query.
func slowLocal(dim int, vectors []float32, source []int64, z []float32, k int, power float64) float64 {
	mean := func(dist []float32) float64 {
		var sum float64
		for _, d := range dist {
			sum += float64(d)
		}
		return sum / float64(len(dist))
	}
	n := len(source)
	own := make([]float64, n) // d_k of the indexed
	var all float64
	for j := range own {
		var others []float32
		for i := range n {
			if source[i] != source[j] {
				others = append(others, vectors[i*dim:(i+1)*dim]...)
			}
		}
		if len(others) > 0 {
			own[j] = mean(slowSearch(dim, others, vectors[j*dim:(j+1)*dim], k).Dist)
		}
		all += own[j]
	}
	nb := slowSearch(dim, vectors, z, k)
	var around float64
	for _, id := range nb.IDs {
		around += own[id] / float64(len(nb.IDs))
	}
	if around = max(around, all/float64(n)/100); around == 0 {
		around = 1
	}
	return mean(nb.Dist) / math.Pow(around, power)
}

func ids(n int) []int64 {
	v := make([]int64, n)
	for i := range v {
		v[i] = int64(i)
	}
	return v
}

// A vectors model has the image itself as its latent vector and decodes
// everything to black.
type vectors struct{ dim int }

func (m vectors) Shape() dataset.Shape { return dataset.Shape{C: 1, H: 1, W: m.dim} }
func (m vectors) LatentDim() int       { return m.dim }

func (m vectors) Encode(_ context.Context, x dataset.Images, z []float32) error {
	copy(z, x.Pix)
	return nil
}

func (m vectors) Decode(_ context.Context, _ []float32, xhat []float32) error {
	clear(xhat)
	return nil
}

func (m vectors) source(v []float32) images {
	return images{Images: dataset.Images{Shape: m.Shape(), N: len(v) / m.dim, Pix: v}}
}

func fitVectors(t *testing.T, v []float32, dim int, change func(*nln.Config)) *nln.Scorer {
	t.Helper()
	cfg := nln.DefaultConfig()
	cfg.Batch = 7
	if change != nil {
		change(&cfg)
	}
	m := vectors{dim}
	s, err := nln.Fit(t.Context(), m, nln.NewExact(dim), m.source(v), m.source(v[:min(len(v), 30*dim)]), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLocalEqualsDefinition(t *testing.T) {
	const dim, n = 3, 60
	v := noise(5, dataset.Shape{C: 1, H: 1, W: dim}, n, .5).Pix
	for i := range 20 * dim { // a dense cluster
		v[i] = .1 + v[i]/16
	}
	for i := 20 * dim; i < 28*dim; i++ { // and copies of one image
		v[i] = v[20*dim+i%dim]
	}
	x := noise(6, dataset.Shape{C: 1, H: 1, W: dim}, 25, 1).Pix
	copy(x, v[:6*dim])                // indexed images
	copy(x[6*dim:], v[20*dim:][:dim]) // the one of which there are copies
	copy(x[7*dim:], v[20*dim:][:dim])
	x[7*dim] += 1e-4 // and one just beside it
	groups := ids(n)
	for i := range groups {
		groups[i] /= 9
	}
	for what, sources := range map[string][]int64{"each its own": nil, "groups": groups} {
		s := fitVectors(t, v, dim, func(c *nln.Config) { c.MaxK = 6; c.Sources = sources })
		p, err := s.Parts(t.Context(), vectors{dim}.source(x).Images, nln.Parts{})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		if sources == nil {
			sources = ids(n)
		}
		for i := range p.Len() {
			for k := 1; k <= 6; k++ {
				for _, power := range []float64{.5, 1} {
					got, want := p.Local(i, k, power), slowLocal(dim, v, sources, x[i*dim:(i+1)*dim], k, power)
					if math.Abs(got-want) > 2*spacingTol*want {
						t.Errorf("%s: image %d: local score %v over %d neighbours with power %v, want %v", what, i, got, k, power, want)
					}
				}
			}
		}
		if got := p.Local(6, 3, 1); got != 0 {
			t.Errorf("%s: a copy of indexed copies has the local score %v, want 0", what, got)
		}
	}
}

// The same distance means more where normal images are alike, by the power.
func TestLocalIsRelative(t *testing.T) {
	v := []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1000, 1004, 1008, 1012, 1016, 1020}
	s := fitVectors(t, v, 1, func(c *nln.Config) { c.Local.K = 1; c.FPR = .1 })
	scores, err := s.Score(t.Context(), vectors{1}.source([]float32{12, 1023}).Images, nil)
	if err != nil {
		t.Fatal(err)
	}
	if scores[0].Distance != 4 || scores[0].Local != 3 || scores[1].Local != 3./2 {
		t.Errorf("scores %+v, want local scores of 3/1 and 3/sqrt(4)", scores)
	}
}

// Where there is no other image, or not even another source, distances stand
// for themselves, and the scorer says so.
func TestLocalWithoutOthers(t *testing.T) {
	for _, c := range []struct {
		v       []float32
		sources []int64
		warn    bool
	}{
		{[]float32{1}, nil, true},
		{[]float32{1, 2, 3, 4}, []int64{7, 7, 7, 7}, true},
		{[]float32{1, 1, 1, 1}, nil, false}, // all are alike
	} {
		s := fitVectors(t, c.v, 1, func(cfg *nln.Config) { cfg.Sources = c.sources })
		scores, err := s.Score(t.Context(), vectors{1}.source([]float32{6}).Images, nil)
		if err != nil {
			t.Fatal(err)
		}
		var sum float32
		for _, v := range c.v {
			sum += 6 - v
		}
		if want := float64(sum) / float64(len(c.v)); scores[0].Local != want {
			t.Errorf("%v: local score %v, want the mean distance %v", c.v, scores[0].Local, want)
		}
		if got := strings.Contains(strings.Join(s.Warnings(), "\n"), "nothing to compare with"); got != c.warn {
			t.Errorf("%v: warnings %q", c.v, s.Warnings())
		}
	}
}

// Ranked by the local score, or by its product with the reconstruction error, score,
// p-value and verdict are its own, and the terms stay what they are.
func TestRankByLocal(t *testing.T) {
	for rank, value := range map[string]func(p nln.Parts, i int) float64{
		nln.ScoreLocal:   func(p nln.Parts, i int) float64 { return p.Local(i, 4, .7) },
		nln.ScoreProduct: func(p nln.Parts, i int) float64 { return p.Recon[i] * p.Local(i, 4, .7) },
	} {
		t.Run(rank, func(t *testing.T) { rankBy(t, rank, value) })
	}
}

func rankBy(t *testing.T, rank string, value func(p nln.Parts, i int) float64) {
	x := noise(9, testShape, 60, 1).Images
	total := fit(t, func(c *nln.Config) { c.FPR = .05 })
	policy := total.Config().Policy
	policy.Rank, policy.Local = rank, nln.Local{K: 4, Power: .7}
	local, err := total.With(policy)
	if err != nil {
		t.Fatal(err)
	}
	locals := total.CalibrationParts().Locals(4, .7)
	calib := make([]float64, len(locals))
	for i := range calib {
		calib[i] = value(total.CalibrationParts(), i)
	}
	slices.Sort(locals)
	slices.Sort(calib)
	atLeast := func(all []float64, v float64) float64 { // p-value of v
		return float64(1+len(all)-sort.SearchFloat64s(all, v)) / float64(1+len(all))
	}
	threshold, err := local.Calibration().Threshold()
	if want := calib[len(calib)-6]; err != nil || threshold != want { // 5 of 120: p = 6/121
		t.Errorf("threshold %v, %v, want %v", threshold, err, want)
	}
	byTotal, err := total.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	byLocal, err := local.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := total.Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	novel, other := 0, 0
	for i, s := range byLocal {
		want := byTotal[i]
		want.Local = p.Local(i, 4, .7)
		want.LocalP = atLeast(locals, want.Local)
		want.Score = value(p, i)
		want.P = atLeast(calib, want.Score)
		want.Novel = want.P <= .05
		if !reflect.DeepEqual(s, want) || !reflect.DeepEqual(s, local.Calibration().Score(p, i)) {
			t.Errorf("image %d: %+v, want %+v", i, s, want)
		}
		if byTotal[i].Local != p.Local(i, 5, .5) || byTotal[i].LocalP != total.Calibration().LocalP(byTotal[i].Local) {
			t.Errorf("image %d: local score %v, want the default one %v", i, byTotal[i].Local, p.Local(i, 5, .5))
		}
		if s.Novel {
			novel++
		}
		if s.Novel != byTotal[i].Novel {
			other++
		}
	}
	if novel == 0 || novel == len(byLocal) || other == 0 {
		t.Errorf("%d of %d novel, %d verdicts differ from those by the total: the test shows nothing", novel, len(byLocal), other)
	}
	if !math.IsNaN(local.Calibration().Rho()) {
		t.Errorf("rho %v of a score without alpha", local.Calibration().Rho())
	}
}

func TestLocalDefaults(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*nln.Config)
		k, maxK int
	}{
		"default":        {func(c *nln.Config) {}, 5, 10},
		"small MaxK":     {func(c *nln.Config) { c.MaxK = 4 }, 4, 4},
		"large K":        {func(c *nln.Config) { c.MaxK = 4; c.Local.K = 8 }, 8, 8},
		"small index":    {func(c *nln.Config) { c.MaxK = 80 }, 5, testTrain},
		"above an index": {func(c *nln.Config) { c.Local.K = 80 }, testTrain, testTrain},
	} {
		s := fit(t, c.change)
		if cfg := s.Config(); cfg.Local.K != c.k || cfg.MaxK != c.maxK || cfg.Local.Power != .5 || cfg.Rank != nln.ScoreTotal {
			t.Errorf("%s: %+v with MaxK %d, want K %d of %d", name, cfg.Policy, cfg.MaxK, c.k, c.maxK)
		}
		if warned := strings.Contains(strings.Join(s.Warnings(), "\n"), "K of the local score is 80 but only 50"); warned != (name == "above an index") {
			t.Errorf("%s: warnings %q", name, s.Warnings())
		}
	}
	_, err := fit(t, nil).With(nln.Policy{K: 1, FPR: .1, Local: nln.Local{K: 11}})
	wantError(t, "K above MaxK", err, "local score: K is 11 but 10", "MaxK")
}
