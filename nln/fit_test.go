package nln_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

func TestNewScorerFromPieces(t *testing.T) {
	x := noise(9, testShape, 20, 1).Images
	for _, cache := range []nln.Cache{nln.CacheFloat32, nln.CacheUint8} {
		s := fit(t, func(c *nln.Config) { c.Cache = cache; c.MaxK = 6 })
		again, err := nln.NewScorer(s.Model(), s.Index(), s.Kept(), nln.Config{Policy: s.Config().Policy})
		if err != nil {
			t.Fatal(err)
		}
		if c := again.Config(); c.MaxK != 6 || c.Cache != cache {
			t.Errorf("MaxK %d and cache %q, want 6 and %q", c.MaxK, c.Cache, cache)
		}
		want, err := s.Score(t.Context(), x, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := again.Score(t.Context(), x, nil); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: other scores than the first scorer's (%v)", cache, err)
		}
	}
}

func TestNewScorerErrors(t *testing.T) {
	s := fit(t, nil)
	change := func(f func(*nln.Table)) nln.Kept {
		r := *s.Recon()
		f(&r)
		k := s.Kept()
		k.Tables = []*nln.Table{&r}
		return k
	}
	with := func(f func(*nln.Kept)) nln.Kept {
		k := s.Kept()
		f(&k)
		return k
	}
	bad := slices.Clone(s.Kept().Spacing)
	bad[101] = float32(math.NaN())
	for name, c := range map[string]struct {
		idx  nln.Index
		kept nln.Kept
		want string
	}{
		"empty index":   {nln.NewExact(testLatent), s.Kept(), "index is empty"},
		"other index":   {nln.NewExact(testLatent + 1), s.Kept(), "3 latent values, index 4"},
		"short table":   {s.Index(), change(func(r *nln.Table) { r.U8 = r.U8[r.F:] }), "table of g(z) has 49 rows for 50"},
		"other rows":    {s.Index(), change(func(r *nln.Table) { r.F, r.U8 = r.F/2, r.U8[:len(r.U8)/2] }), "15 values, want 30"},
		"ragged table":  {s.Index(), change(func(r *nln.Table) { r.U8 = r.U8[1:] }), "not a multiple"},
		"unknown cache": {s.Index(), change(func(r *nln.Table) { r.Kind = "zip" }), `"zip"`},
		"no table":      {s.Index(), with(func(k *nln.Kept) { k.Tables = nil }), `no table of g(z), by which space "image"`},
		"other table":   {s.Index(), change(func(r *nln.Table) { r.Feature.Network = "q" }), "no table of g(z)"},
		"other space": {s.Index(), with(func(k *nln.Kept) {
			k.Calibration.Spaces = slices.Clone(k.Calibration.Spaces)
			k.Calibration.Spaces[0].Space = "a"
		}),
			`no errors in space "image"`},
		"no calibration": {s.Index(), with(func(k *nln.Kept) { k.Calibration = nln.Parts{} }), "no calibration images"},
		"strange neighbour": {s.Index(), with(func(k *nln.Kept) {
			k.Calibration.IDs = slices.Clone(k.Calibration.IDs)
			k.Calibration.IDs[7] = 50
		}), "neighbour 50 of 50"},
		"bad calibration": {s.Index(), with(func(k *nln.Kept) { k.Calibration.IDs = nil }), "0 ids"},
		"no spacing":      {s.Index(), with(func(k *nln.Kept) { k.Spacing = nil }), "spacing of 0 values for 50"},
		"ragged spacing":  {s.Index(), with(func(k *nln.Kept) { k.Spacing = k.Spacing[1:] }), "spacing of 499 values for 50"},
		"wide spacing":    {s.Index(), with(func(k *nln.Kept) { k.Spacing = make([]float32, 50*51) }), "spacing of 2550 values for 50"},
		"other K":         {s.Index(), with(func(k *nln.Kept) { k.Spacing = k.Spacing[:50*9] }), "with 10 neighbours, spacing over 9"},
		"small K":         {s.Index(), with(func(k *nln.Kept) { k.Spacing = k.Spacing[:50*2] }), "K is 3 but 2 neighbours were kept"},
		"NaN spacing":     {s.Index(), with(func(k *nln.Kept) { k.Spacing = bad }), "spacing of indexed image 10 over 2 neighbours is NaN"},
	} {
		_, err := nln.NewScorer(s.Model(), c.idx, c.kept, nln.DefaultConfig())
		wantError(t, name, err, "nln: new scorer: ", c.want)
	}
}

func TestFitErrors(t *testing.T) {
	good, calib := noise(2, testShape, 20, .5), noise(3, testShape, 5, .5)
	spoil := func(v float32) images {
		x := noise(2, testShape, 20, .5)
		x.At(13)[7] = v
		return x
	}
	nan := float32(math.NaN())
	filled := exact(t, testLatent, []float32{1, 2, 3})
	unread := errors.New("disk on fire")
	for name, c := range map[string]struct {
		idx          nln.Index
		train, calib dataset.Source
		change       func(*nln.Config)
		want         string
	}{
		"no train":       {nil, nil, calib, nil, "no train images"},
		"empty train":    {nil, noise(1, testShape, 0, 1), calib, nil, "no train images"},
		"no calib":       {nil, good, nil, nil, "no calibration images: hold out"},
		"empty calib":    {nil, good, noise(1, testShape, 0, 1), nil, "no calibration images: hold out"},
		"filled index":   {filled, good, calib, nil, "index holds 1 vectors"},
		"other index":    {nln.NewExact(4), good, calib, nil, "3 latent values, index 4"},
		"train shape":    {nil, noise(1, dataset.Shape{C: 1, H: 3, W: 5}, 9, 1), calib, nil, "train: images are 3x5x1, want 3x5x2"},
		"calib shape":    {nil, good, noise(1, dataset.Shape{C: 2, H: 5, W: 3}, 9, 1), nil, "calibrate: images are 5x3x2, want 3x5x2"},
		"train NaN":      {nil, spoil(nan), calib, nil, "train: image 13: value 7 is NaN"},
		"calib infinity": {nil, good, spoil(float32(math.Inf(-1))), nil, "calibrate: image 13: value 7 is -Inf"},
		"diverged":       {nil, spoil(math.MaxFloat32), calib, nil, "train: image 13: latent value"},
		"unreadable":     {nil, images{Images: good.Images, fail: unread}, calib, nil, "read images from 4 on: disk on fire"},
		"short source":   {nil, images{Images: good.Images, claim: 2}, calib, nil, "20 images of 22"},
		"K 0":            {nil, good, calib, func(c *nln.Config) { c.K = 0 }, "K is 0"},
		"local K":        {nil, good, calib, func(c *nln.Config) { c.Local.K = -1 }, "local score: K is -1"},
		"power":          {nil, good, calib, func(c *nln.Config) { c.Local.Power = 1.5 }, "local score: power is 1.5"},
		"rank":           {nil, good, calib, func(c *nln.Config) { c.Rank = "recon" }, `rank is "recon", want one of ["total" "local" "product"]`},
		"sources":        {nil, good, calib, func(c *nln.Config) { c.Sources = make([]int64, 19) }, "19 sources of 20 train images"},
		"alpha":          {nil, good, calib, func(c *nln.Config) { c.Alpha = 1.5 }, "alpha is 1.5"},
		"MaxK":           {nil, good, calib, func(c *nln.Config) { c.MaxK = -1 }, "MaxK is -1"},
		"cache":          {nil, good, calib, func(c *nln.Config) { c.Cache = "fp4" }, `"fp4"`},
	} {
		cfg := nln.DefaultConfig()
		cfg.Batch = 4
		if c.change != nil {
			c.change(&cfg)
		}
		if c.idx == nil {
			c.idx = nln.NewExact(testLatent)
		}
		m := newLinear(1, testShape, testLatent)
		for i := range m.weight {
			m.weight[i] *= 40 // so that the largest number overflows
		}
		_, err := nln.Fit(t.Context(), m, c.idx, c.train, c.calib, cfg)
		wantError(t, name, err, "nln: fit: ", c.want)
	}
}

// broken fails in the ways of a model or an index that breaks its contract.
type broken struct {
	nln.Model
	nln.Index
	encode, decode, search error
	reconstruct            float32
	neighbors              func(*nln.Neighbors)
}

func (b *broken) Encode(ctx context.Context, x dataset.Images, z []float32) error {
	return errors.Join(b.encode, b.Model.Encode(ctx, x, z))
}

func (b *broken) Decode(ctx context.Context, z []float32, xhat []float32) error {
	err := b.Model.Decode(ctx, z, xhat)
	if b.reconstruct != 0 {
		xhat[len(xhat)-1] = b.reconstruct
	}
	return errors.Join(b.decode, err)
}

func (b *broken) Search(ctx context.Context, q []float32, k int, dst nln.Neighbors) (nln.Neighbors, error) {
	nb, err := b.Index.Search(ctx, q, k, dst)
	if b.neighbors != nil {
		b.neighbors(&nb)
	}
	return nb, errors.Join(b.search, err)
}

func TestBrokenModelAndIndex(t *testing.T) {
	s := fit(t, nil)
	x := noise(9, testShape, 20, 1).Images
	b := &broken{Model: s.Model(), Index: s.Index()}
	cfg := s.Config()
	cfg.Batch = 8
	bs, err := nln.NewScorer(b, b, s.Kept(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("out of memory")
	for name, c := range map[string]struct {
		how  broken
		want string
	}{
		"encode":          {broken{encode: failure}, "encode images from 0 on: out of memory"},
		"decode":          {broken{decode: failure}, "images from 0 on: decode: out of memory"},
		"search":          {broken{search: failure}, "search neighbours of images from 0 on: out of memory"},
		"decode NaN":      {broken{reconstruct: float32(math.NaN())}, "image 7: reconstructed value 29 is NaN"},
		"fewer":           {broken{neighbors: func(nb *nln.Neighbors) { nb.K-- }}, "index gave 4 neighbours"},
		"short":           {broken{neighbors: func(nb *nln.Neighbors) { nb.IDs = nb.IDs[1:] }}, "39 ids"},
		"missing":         {broken{neighbors: func(nb *nln.Neighbors) { nb.IDs[6] = -1 }}, "image 1: index gave id -1"},
		"unknown id":      {broken{neighbors: func(nb *nln.Neighbors) { nb.IDs[0] = 50 }}, "image 0: index gave id 50, have 50"},
		"distance NaN":    {broken{neighbors: func(nb *nln.Neighbors) { nb.Dist[5] = float32(math.NaN()) }}, "image 1: index gave distance NaN"},
		"infinite":        {broken{neighbors: func(nb *nln.Neighbors) { nb.Dist[0] = float32(math.Inf(1)) }}, "distance +Inf"},
		"descending":      {broken{neighbors: func(nb *nln.Neighbors) { nb.Dist[9] = nb.Dist[8] / 2 }}, "as neighbour 5"},
		"negative square": {broken{neighbors: func(nb *nln.Neighbors) { nb.Dist[0] = -1 }}, "distance -1"},
	} {
		c.how.Model, c.how.Index = b.Model, b.Index
		*b = c.how
		_, err := bs.Score(t.Context(), x, nil)
		wantError(t, name, err, "nln: ", c.want)
		for _, err := range bs.ScoreAll(t.Context(), images{Images: x}) {
			wantError(t, name+" in a stream", err, c.want)
		}
	}
}

// Images are named by their position in what the caller gave, not by that in
// the piece that went to the model.
func TestErrorsNameImages(t *testing.T) {
	nan := float32(math.NaN())
	m := table{1, map[float32][]float32{0: {0}, .5: {1}, 1: {nan}}}
	good := images{Images: dataset.Images{Shape: m.Shape(), N: 2, Pix: []float32{0, .5}}}
	s, err := nln.Fit(t.Context(), m, nln.NewExact(1), good, good, nln.Config{Policy: nln.DefaultPolicy(), Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	x := dataset.Images{Shape: m.Shape(), N: 6, Pix: []float32{0, .5, 0, .5, 0, 1}}
	_, err = s.Score(t.Context(), x, nil)
	wantError(t, "in a batch", err, "image 5: latent value 0 is NaN")
	_, err = s.PartsAll(t.Context(), images{Images: x})
	wantError(t, "in a source", err, "image 5: latent value 0 is NaN")
	_, err = nln.Fit(t.Context(), m, nln.NewExact(1), images{Images: x}, good, nln.Config{Policy: nln.DefaultPolicy(), Batch: 2})
	wantError(t, "in train", err, "train: image 5: latent value 0 is NaN")
}

func TestScoreErrors(t *testing.T) {
	s := fit(t, nil)
	x := noise(9, testShape, 20, 1).Images
	dst, err := s.Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	x.At(17)[3] = float32(math.Inf(1))
	got, err := s.Parts(t.Context(), x, dst)
	wantError(t, "infinity", err, "image 17: value 3 is +Inf")
	if got.Len() != 20 {
		t.Errorf("%d images after an error, want the 20 from before", got.Len())
	}
	for _, err = range s.ScoreAll(t.Context(), images{Images: x}) {
		if err != nil {
			break
		}
	}
	wantError(t, "infinity in a stream", err, "image 17: value 3 is +Inf")
	_, err = s.Parts(t.Context(), noise(9, dataset.Shape{C: 1, H: 2, W: 2}, 3, 1).Images, nln.Parts{})
	wantError(t, "shape", err, "images are 2x2x1, want 3x5x2")
	_, err = s.Parts(t.Context(), dataset.Images{Shape: testShape, N: 2, Pix: make([]float32, 31)}, nln.Parts{})
	wantError(t, "length", err, "2 images of 3x5x2 hold 31 values, want 60")
	_, err = s.Parts(t.Context(), x.Slice(0, 2), twoByTwo())
	wantError(t, "other K", err, "10 neighbours to parts of 2")
	if got, err := s.Score(t.Context(), dataset.Images{Shape: testShape}, nil); err != nil || len(got) != 0 {
		t.Errorf("no images: %v, %v, want none", got, err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Score(canceled, x.Slice(0, 3), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
}

func TestWarnings(t *testing.T) {
	train, calib := noise(2, testShape, 4, .5), noise(3, testShape, 120, .5)
	same := dataset.Images{Shape: testShape, N: 120, Pix: make([]float32, 120*30)}
	for name, c := range map[string]struct {
		calib  dataset.Source
		change func(*nln.Config)
		want   []string
	}{
		"none":         {calib, func(c *nln.Config) {}, nil},
		"K":            {calib, func(c *nln.Config) { c.K = 9 }, []string{"K is 9 but only 4 images"}},
		"rate":         {calib, func(c *nln.Config) { c.FPR = .001 }, []string{"120 calibration images are too few", "hold out 999"}},
		"constant":     {images{Images: same}, func(c *nln.Config) {}, []string{"error term is the same", "distance term is the same"}},
		"one constant": {images{Images: same}, func(c *nln.Config) { c.Alpha = 1 }, []string{"error term is the same"}},
		"uncalibrated": {nil, func(c *nln.Config) { c.Uncalibrated = true }, []string{"0 calibration images are too few"}},
	} {
		cfg := nln.DefaultConfig()
		c.change(&cfg)
		s, err := nln.Fit(t.Context(), newLinear(1, testShape, testLatent), nln.NewExact(testLatent), train, c.calib, cfg)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all := strings.Join(s.Warnings(), "\n")
		if (len(c.want) == 0) != (all == "") || strings.Contains(all, "distance term") && name == "one constant" {
			t.Errorf("%s: warnings %q", name, all)
		}
		for _, w := range c.want {
			if !strings.Contains(all, w) {
				t.Errorf("%s: warnings %q do not say %q", name, all, w)
			}
		}
		if name == "K" && (s.Config().K != 4 || s.Config().MaxK != 4) {
			t.Errorf("K %d and MaxK %d, want 4", s.Config().K, s.Config().MaxK)
		}
	}
}

func TestUncalibratedIsPlainSum(t *testing.T) {
	s, err := nln.Fit(t.Context(), newLinear(1, testShape, testLatent), nln.NewExact(testLatent),
		noise(2, testShape, testTrain, .5), nil, nln.Config{Policy: nln.DefaultPolicy(), Uncalibrated: true})
	if err != nil {
		t.Fatal(err)
	}
	again, err := nln.NewScorer(s.Model(), s.Index(), s.Kept(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*nln.Scorer{s, again} {
		scores, err := s.Score(t.Context(), noise(9, testShape, 20, 1).Images, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, sc := range scores {
			if want := .8*sc.Error + .2*sc.Distance; math.Abs(sc.Score-want) > sumTol || sc.P != 1 || sc.Novel {
				t.Errorf("image %d: %+v, want score %v, p 1, not novel", i, sc, want)
			}
		}
	}
}

func TestProgress(t *testing.T) {
	var got []int
	stages := map[string]int{}
	fit(t, func(c *nln.Config) {
		c.Batch = 25
		c.Progress = func(stage string, done, total int) {
			got = append(got, done)
			stages[stage] = total
		}
	})
	if want := []int{25, 50, 50, 25, 50, 75, 100, 120, 25, 50, 75, 100, 120}; !slices.Equal(got, want) {
		t.Errorf("progress %v, want %v", got, want)
	}
	if want := map[string]int{"index": testTrain, "local": testTrain, "calibrate": testCalib, "maps": testCalib}; !reflect.DeepEqual(stages, want) {
		t.Errorf("stages %v, want %v", stages, want)
	}
}
