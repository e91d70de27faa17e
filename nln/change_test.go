package nln_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A featured model is linear, with networks whose features need the image or its
// reconstruction, so that every kind of query has to be kept.
type featured struct{ *linear }

func (m featured) Spaces() []nln.Space {
	of := func(in nln.Input, network string) nln.Feature { return nln.Feature{Of: in, Network: network} }
	return []nln.Space{
		{Name: "eq8", Dim: m.latent, Query: of(nln.OfLatent, ""), Neighbor: of(nln.OfReconstruction, "f")},
		{Name: "code", Dim: m.latent, Query: of(nln.OfReconstruction, "f"), Neighbor: of(nln.OfLatent, "")},
		{Name: "residual", Dim: m.latent, Query: of(nln.OfImage, "f"), Neighbor: of(nln.OfReconstruction, "f")},
		nln.ImageSpace(m),
	}
}

func (m featured) Features(ctx context.Context, _ string, x dataset.Images, dst []float32) error {
	return m.Encode(ctx, x, dst)
}

// sameScorer fails unless both scorers keep and give the same, to the bit.
func sameScorer(t *testing.T, what string, have, want *nln.Scorer, test dataset.Source) {
	t.Helper()
	a, b := have.Kept(), want.Kept()
	sortTables := func(k nln.Kept) {
		slices.SortFunc(k.Tables, func(x, y *nln.Table) int { return strings.Compare(x.Feature.String(), y.Feature.String()) })
	}
	sortTables(a)
	sortTables(b)
	if !slices.Equal(a.Spacing, b.Spacing) {
		t.Errorf("%s: other spacing", what)
	}
	if !reflect.DeepEqual(a.Calibration, b.Calibration) {
		t.Errorf("%s: other calibration", what)
	}
	if !reflect.DeepEqual(a.Tables, b.Tables) {
		t.Errorf("%s: other tables", what)
	}
	x, y := have.Index().(nln.VectorIndex).Vectors(), want.Index().(nln.VectorIndex).Vectors()
	if !slices.Equal(x, y) {
		t.Errorf("%s: other latents", what)
	}
	p, err1 := have.PartsAll(t.Context(), test)
	q, err2 := want.PartsAll(t.Context(), test)
	if err1 != nil || err2 != nil || !reflect.DeepEqual(p, q) {
		t.Errorf("%s: other parts of images (%v, %v)", what, err1, err2)
	}
	if a, b := have.Config(), want.Config(); !reflect.DeepEqual(a.Policy, b.Policy) || a.MaxK != b.MaxK || !slices.Equal(a.Sources, b.Sources) {
		t.Errorf("%s: configuration %+v, want %+v", what, a, b)
	}
	u, err1 := have.Calibration().Threshold()
	v, err2 := want.Calibration().Threshold()
	if u != v || (err1 == nil) != (err2 == nil) {
		t.Errorf("%s: threshold %v (%v), want %v (%v)", what, u, err1, v, err2)
	}
}

// byteImages returns n images of random bytes divided by 255.
func byteImages(seed uint64, n int) *dataset.Set {
	rng := rand.New(rand.NewPCG(seed, 2))
	s := &dataset.Set{Name: "pixels", Size: testShape, Scale: dataset.Scale255, Pix: make([]uint8, n*testShape.Len())}
	for i := range s.Pix {
		s.Pix[i] = uint8(rng.UintN(256))
	}
	return s
}

// numbers returns from up to, not including, to.
func numbers(from, to int) []int {
	var ids []int
	for i := from; i < to; i++ {
		ids = append(ids, i)
	}
	return ids
}

// What a change makes is what fitting the same images at once makes, whatever is
// added and removed, and a change back gives the original.
func TestChangeIsFitting(t *testing.T) {
	const seed = 21
	rng := rand.New(rand.NewPCG(seed, 0))
	all, calib, test := byteImages(31, 400), byteImages(32, 60), byteImages(33, 40)
	for _, n := range []int{120, 300, 11, 10, 3} {
		for _, change := range []func(*nln.Config){nil, func(c *nln.Config) { c.Rank, c.Radius, c.Cache = nln.ScoreLocal, .5, nln.CacheFloat32 },
			func(c *nln.Config) { c.Metric, c.Spaces = nln.MetricL1Mean, []string{"residual", nln.SpaceLatent} }} {
			model := featured{newLinear(1, testShape, testLatent)}
			fit := func(ids []int) *nln.Scorer {
				cfg := nln.DefaultConfig()
				cfg.Batch, cfg.MaxK, cfg.K, cfg.Local.K = 16, 3, 2, 3
				switch {
				case n > 100:
					cfg.MaxK, cfg.Local.K = 7, 5
				case n == 10: // each has one other fewer than are wanted
					cfg.MaxK = n
				}
				if change != nil {
					change(&cfg)
				}
				s, err := nln.Fit(t.Context(), model, nln.NewExact(testLatent), all.Subset(ids), calib, cfg)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			first := fit(numbers(0, n))
			held, err := first.Hold(t.Context(), calib)
			if err != nil {
				t.Fatal(err)
			}
			same, err := first.Compare(t.Context(), held)
			if err != nil || !reflect.DeepEqual(same, first.CalibrationParts()) {
				t.Fatalf("calibration images compared anew have other parts (%v)", err)
			}
			apply := func(s *nln.Scorer, c nln.Change) *nln.Scorer {
				t.Helper()
				c.Held = held
				u, err := s.Change(t.Context(), nln.NewExact(testLatent), c)
				if err != nil {
					t.Fatal(err)
				}
				return u
			}
			for _, more := range []int{1, 5, 60} {
				what := fmt.Sprintf("seed %d, %d and %d images", seed, n, more)
				grown := apply(first, nln.Change{Add: all.Subset(numbers(n, n+more))})
				sameScorer(t, what+": added", grown, fit(numbers(0, n+more)), test)
				var back []int64
				for _, id := range numbers(n, n+more) {
					back = append(back, int64(id))
				}
				sameScorer(t, what+": removed again", apply(grown, nln.Change{Remove: back}), first, test)
				sameScorer(t, what+": nothing", apply(grown, nln.Change{}), grown, test)
				// Some of both, anywhere.
				ids := numbers(0, n+more)
				rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
				gone := ids[:min(more, len(ids)-4)]
				var remove []int64
				var rest []int
				for _, id := range gone {
					remove = append(remove, int64(id))
				}
				for id := range n + more {
					if !slices.Contains(gone, id) {
						rest = append(rest, id)
					}
				}
				extra := numbers(n+more, n+more+3)
				sameScorer(t, what+": both", apply(grown, nln.Change{Remove: remove, Add: all.Subset(extra)}), fit(append(rest, extra...)), test)
			}
		}
	}
}

// Of several images of one source none is compared with the others, before and
// after a change.
func TestChangeKeepsSources(t *testing.T) {
	all, calib, test := byteImages(41, 60), byteImages(42, 30), byteImages(43, 20)
	sources := func(n int) []int64 {
		s := make([]int64, n)
		for i := range s {
			s[i] = int64(i / 4)
		}
		return s
	}
	fit := func(n int) *nln.Scorer {
		cfg := nln.DefaultConfig()
		cfg.Sources = sources(n)
		s, err := nln.Fit(t.Context(), newLinear(1, testShape, testLatent), nln.NewExact(testLatent), all.Subset(numbers(0, n)), calib, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := fit(50)
	held, err := s.Hold(t.Context(), calib)
	if err != nil {
		t.Fatal(err)
	}
	c := nln.Change{Add: all.Subset(numbers(50, 60)), Sources: sources(60)[50:], Held: held}
	grown, err := s.Change(t.Context(), nln.NewExact(testLatent), c)
	if err != nil {
		t.Fatal(err)
	}
	sameScorer(t, "sources", grown, fit(60), test)
	c.Sources = nil
	if _, err := s.Change(t.Context(), nln.NewExact(testLatent), c); err == nil || !strings.Contains(err.Error(), "want all or none") {
		t.Errorf("without sources: %v", err)
	}
}

func TestChangeRefuses(t *testing.T) {
	s := fit(t, nil)
	calib := noise(3, testShape, testCalib, .5)
	held, err := s.Hold(t.Context(), calib)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int64, testTrain)
	for i := range all {
		all[i] = int64(i)
	}
	full := nln.NewExact(testLatent)
	full.Add(t.Context(), make([]float32, testLatent))
	short := *held
	short.Latents = held.Latents[:len(held.Latents)-testLatent]
	bare := *held
	bare.Tables = nil
	for want, c := range map[string]struct {
		index  nln.Index
		change nln.Change
	}{
		"no indexed image has the id 50": {nln.NewExact(testLatent), nln.Change{Remove: []int64{50}, Held: held}},
		"no indexed image has the id -1": {nln.NewExact(testLatent), nln.Change{Remove: []int64{-1}, Held: held}},
		"id 7 is to be removed twice":    {nln.NewExact(testLatent), nln.Change{Remove: []int64{7, 3, 7}, Held: held}},
		"no images would be left":        {nln.NewExact(testLatent), nln.Change{Remove: all, Held: held}},
		"want an empty one":              {full, nln.Change{Held: held}},
		"index 4":                        {nln.NewExact(4), nln.Change{Held: held}},
		"nothing is kept of the 120":     {nln.NewExact(testLatent), nln.Change{Remove: []int64{1}}},
		"latents of 357 values":          {nln.NewExact(testLatent), nln.Change{Held: &short}},
		"no x is kept":                   {nln.NewExact(testLatent), nln.Change{Held: &bare}},
	} {
		if _, err := s.Change(t.Context(), c.index, c.change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := s.Hold(t.Context(), noise(3, testShape, 7, .5)); err == nil {
		t.Error("other calibration images: no error")
	}
}

// Pixels of bytes divided by 255 are kept as bytes, others as they are; both give
// back the value.
func TestHeldIsExact(t *testing.T) {
	s := fit(t, nil)
	calib := byteImages(3, testCalib)
	for scale, kind := range map[dataset.Scale]nln.Cache{dataset.Scale255: nln.CacheUint8, dataset.ScaleMinMax: nln.CacheFloat32} {
		calib.Scale = scale
		held, err := s.Hold(t.Context(), calib)
		if err != nil {
			t.Fatal(err)
		}
		table := held.Tables[0]
		if len(held.Tables) != 1 || table.Kind != kind || table.Len() != testCalib {
			t.Fatalf("%s: %d tables, of kind %s with %d rows", scale, len(held.Tables), table.Kind, table.Len())
		}
		row := make([]float32, table.F)
		for i := range testCalib {
			x := calib.Gather([]int{i}, make([]float32, table.F))
			if !slices.Equal(table.Row(i, row), x.Pix) || held.Digests[i] != nln.DigestOf(x.Pix) {
				t.Fatalf("%s: image %d is kept as another", scale, i)
			}
		}
	}
}
