package bundle

import (
	"math"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// distanceToUniform returns the statistic of Kolmogorov and Smirnov: the largest
// difference between the share of values at or below t and t, for t in [0, 1].
func distanceToUniform(values []float64) float64 {
	v, d := slices.Sorted(slices.Values(values)), 0.
	for i, t := range v {
		d = max(d, math.Abs(float64(i+1)/float64(len(v))-t), math.Abs(t-float64(i)/float64(len(v))))
	}
	return d
}

// ksBound returns what the distance between the empirical distributions of two
// samples of one distribution exceeds with a chance of alpha, asymptotically. The
// p-values of m images by n calibration images are the ranks of the one sample in
// the other, so that this, and not the bound of one sample, is theirs; that ranks
// are multiples of 1/(n+1) adds as much.
func ksBound(n, m int, alpha float64) float64 {
	return math.Sqrt(-math.Log(alpha/2)/2*float64(n+m)/float64(n*m)) + 1/float64(n+1)
}

// P-values of normal images that neither training nor calibration saw are uniform,
// by the scorer as the program has it. Those of indexed images are not, nor would
// be those of images calibrated by indexed ones: the bound tells them apart.
func TestPValuesAreUniform(t *testing.T) {
	const alpha = 1e-3 // of a false alarm, for other seeds than these
	set := images(t, 150)
	keep, out := dataset.Split(set.Len(), set.Labels, .6, 1)
	train, held := set.Subset(keep), set.Subset(out)
	a, b := dataset.Split(held.Len(), held.Labels, .5, 2)
	calib, test := held.Subset(a), held.Subset(b)
	cfg, err := models.Preset("paper", models.ArchAE, set.Size)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Shape, cfg.Steps, cfg.Batch, cfg.LR, cfg.Loss = set.Size, 60, 32, 1e-3, models.LossBCE
	m, err := models.New(cfg, torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := models.Train(t.Context(), m, train, models.Options{}); err != nil {
		t.Fatal(err)
	}
	x, err := faissindex.New(m.LatentDim())
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s, err := nln.Fit(t.Context(), m, x, train, calib, nln.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	// The p-values of the total score, of the distance alone and of the local score.
	pValues := func(s *nln.Scorer, set *dataset.Set) map[string][]float64 {
		p := map[string][]float64{}
		distance, err := s.With(nln.Policy{K: 3, Alpha: 0, FPR: .01})
		if err != nil {
			t.Fatal(err)
		}
		for score, err := range s.ScoreAll(t.Context(), set) {
			if err != nil {
				t.Fatal(err)
			}
			p["total"], p["local"] = append(p["total"], score.P), append(p["local"], score.LocalP)
		}
		for score, err := range distance.ScoreAll(t.Context(), set) {
			if err != nil {
				t.Fatal(err)
			}
			p["distance"] = append(p["distance"], score.P)
		}
		return p
	}
	bound := ksBound(calib.Len(), test.Len(), alpha)
	for name, p := range pValues(s, test) {
		d := distanceToUniform(p)
		t.Logf("%s: %d p-values by %d calibration images are %.4f from uniform, bound %.4f", name, len(p), calib.Len(), d, bound)
		if d > bound {
			t.Errorf("%s: p-values are %.4f from uniform, more than %.4f", name, d, bound)
		}
	}
	// What the bound would find. The total is mostly the error, which is hardly
	// smaller where an image is one of its own neighbours.
	indexed := pValues(s, train)
	for _, name := range []string{"distance", "local"} {
		if d := distanceToUniform(indexed[name]); d <= ksBound(calib.Len(), train.Len(), alpha) {
			t.Errorf("%s: p-values of indexed images are %.4f from uniform only: the bound finds nothing", name, d)
		}
	}
	kept := s.Kept()
	if kept.Calibration, err = s.PartsAll(t.Context(), train); err != nil {
		t.Fatal(err)
	}
	wrong, err := nln.NewScorer(m, x, kept, s.Config())
	if err != nil {
		t.Fatal(err)
	}
	misled := pValues(wrong, test)
	for _, name := range []string{"distance", "local"} {
		if d := distanceToUniform(misled[name]); d <= ksBound(train.Len(), test.Len(), alpha) {
			t.Errorf("%s: calibrated by indexed images p-values are %.4f from uniform only: the bound finds nothing", name, d)
		}
	}
}
