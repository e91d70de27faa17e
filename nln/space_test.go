package nln_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A twin model is a linear one with two more encoders: q, with another number
// of features, and f_con. It has all the spaces of the paper.
type twin struct {
	*linear
	networks map[string]*linear

	mu      sync.Mutex
	calls   map[string]int // images that each network has seen
	spaces  []nln.Space    // instead of its own
	fail    error
	spoil   float32 // stored last by Features unless 0
	spoiled string  // network that is spoilt
}

const testFeatures = 5 // of q

func newTwin() *twin {
	return &twin{linear: newLinear(1, testShape, testLatent), calls: map[string]int{}, networks: map[string]*linear{
		"q": newLinear(21, testShape, testFeatures), "f_con": newLinear(22, testShape, testLatent)}}
}

func (m *twin) Spaces() []nln.Space {
	if m.spaces != nil {
		return m.spaces
	}
	of := func(in nln.Input, network string) nln.Feature { return nln.Feature{Of: in, Network: network} }
	return []nln.Space{
		{"residual", testFeatures, of(nln.OfImage, "q"), of(nln.OfReconstruction, "q")},
		{"eq8", testLatent, of(nln.OfLatent, ""), of(nln.OfReconstruction, "f_con")},
		{"code", testLatent, of(nln.OfReconstruction, "f_con"), of(nln.OfLatent, "")},
		{"text", testLatent, of(nln.OfImage, "f_con"), of(nln.OfLatent, "")},
		nln.ImageSpace(m),
	}
}

var allSpaces = []string{"residual", "eq8", "code", "text", nln.SpaceImage}

func (m *twin) Features(ctx context.Context, network string, x dataset.Images, dst []float32) error {
	n := m.networks[network]
	if n == nil || len(dst) != x.N*n.latent || len(x.Pix) != x.N*x.Shape.Len() || x.Shape != m.shape {
		return errors.New("wrong use of the model")
	}
	m.mu.Lock()
	m.calls[network] += x.N
	m.mu.Unlock()
	err := errors.Join(m.fail, n.Encode(ctx, x, dst))
	if m.spoil != 0 && network == m.spoiled {
		dst[len(dst)-1] = m.spoil
	}
	return err
}

// opaque hides the vectors of an index, as one that compresses them.
type opaque struct{ nln.Index }

func fitTwin(t testing.TB, m *twin, idx nln.Index, change func(*nln.Config)) *nln.Scorer {
	t.Helper()
	cfg := nln.DefaultConfig()
	cfg.Batch, cfg.Cache = 16, nln.CacheFloat32
	if change != nil {
		change(&cfg)
	}
	s, err := nln.Fit(t.Context(), m, idx, noise(2, testShape, testTrain, .5), noise(3, testShape, testCalib, .5), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// slowTerm computes an error term from equation 4, 7 or 8, or as the authors'
// code and their text have it, one image and neighbour after the other.
func slowTerm(t *testing.T, m *twin, train, x dataset.Images, space string, ids []int64, k int) nln.ErrorTerm {
	t.Helper()
	encode := func(m *linear, pix []float32) []float32 {
		z := make([]float32, m.latent)
		if err := m.Encode(t.Context(), dataset.Images{Shape: testShape, N: 1, Pix: pix}, z); err != nil {
			t.Fatal(err)
		}
		return z
	}
	decode := func(z []float32) []float32 {
		xhat := make([]float32, testShape.Len())
		if err := m.Decode(t.Context(), z, xhat); err != nil {
			t.Fatal(err)
		}
		return xhat
	}
	q, second := m.networks["q"], m.networks["f_con"]
	e := func(x, neighbor []float32) float64 {
		zk := encode(m.linear, neighbor)
		switch space {
		case "image":
			return slowMeanAbs(x, decode(zk))
		case "residual":
			return slowMeanAbs(encode(q, x), encode(q, decode(zk)))
		case "eq8":
			return slowMeanAbs(encode(m.linear, x), encode(second, decode(zk)))
		case "code":
			return slowMeanAbs(encode(second, decode(encode(m.linear, x))), zk)
		case "text":
			return slowMeanAbs(encode(second, x), zk)
		case "latent":
			return slowMeanAbs(encode(m.linear, x), zk)
		}
		t.Fatalf("no space %q", space)
		return 0
	}
	term := nln.ErrorTerm{Space: space}
	for i := range x.N {
		term.Own = append(term.Own, e(x.At(i), x.At(i)))
		for last := range k {
			var sum float64
			for _, id := range ids[i*k : i*k+last+1] {
				sum += e(x.At(i), train.At(int(id)))
			}
			term.Mean = append(term.Mean, sum/float64(last+1))
		}
	}
	return term
}

func TestSpacesEqualDefinition(t *testing.T) {
	x, train := noise(9, testShape, 20, 1).Images, noise(2, testShape, testTrain, .5).Images
	names := append(slices.Clone(allSpaces), nln.SpaceLatent)
	for what, idx := range map[string]nln.Index{"vectors": nln.NewExact(testLatent), "no vectors": opaque{nln.NewExact(testLatent)}} {
		m := newTwin()
		s := fitTwin(t, m, idx, func(c *nln.Config) { c.Spaces = names; c.MaxK = 6 })
		got, err := s.Parts(t.Context(), x, nln.Parts{})
		if err != nil {
			t.Fatal(err)
		}
		if err := got.Check(); err != nil || !reflect.DeepEqual(got.SpaceNames(), names) {
			t.Fatalf("%s: spaces %q, %v", what, got.SpaceNames(), err)
		}
		for _, term := range got.Spaces {
			want := slowTerm(t, m, train, x, term.Space, got.IDs, got.K)
			for i := range want.Mean {
				if math.Abs(term.Mean[i]-want.Mean[i]) > sumTol {
					t.Fatalf("%s: %s: error %v, want %v", what, term.Space, term.Mean[i], want.Mean[i])
				}
			}
			for i := range want.Own {
				if math.Abs(term.Own[i]-want.Own[i]) > sumTol {
					t.Fatalf("%s: %s: own error %v, want %v", what, term.Space, term.Own[i], want.Own[i])
				}
			}
		}
	}
}

// Spaces that share a feature share its table, and an index that has its
// vectors is not asked to have them twice.
func TestTablesAreShared(t *testing.T) {
	features := func(s *nln.Scorer) (names []string) {
		for _, table := range s.Kept().Tables {
			names = append(names, table.Feature.String())
			if table.Len() != testTrain {
				t.Errorf("table of %v has %d rows", table.Feature, table.Len())
			}
		}
		return names
	}
	with, without := func() nln.Index { return nln.NewExact(testLatent) }, func() nln.Index { return opaque{nln.NewExact(testLatent)} }
	for _, c := range []struct {
		index  func() nln.Index
		spaces []string
		want   []string
	}{
		{with, nil, []string{"q(g(z))", "f_con(g(z))", "g(z)"}},
		{without, nil, []string{"q(g(z))", "f_con(g(z))", "z", "g(z)"}},
		{with, []string{"code", "text"}, nil},
		{without, []string{"code", "text", "latent"}, []string{"z"}},
		{with, []string{"residual"}, []string{"q(g(z))"}},
	} {
		s := fitTwin(t, newTwin(), c.index(), func(cfg *nln.Config) { cfg.Spaces = c.spaces })
		if got := features(s); !slices.Equal(got, c.want) {
			t.Errorf("spaces %q: tables %q, want %q", c.spaces, got, c.want)
		}
		again, err := nln.NewScorer(s.Model(), s.Index(), s.Kept(), s.Config())
		if err != nil {
			t.Fatal(err)
		}
		x := noise(9, testShape, 20, 1).Images
		a, err1 := s.Parts(t.Context(), x, nln.Parts{})
		b, err2 := again.Parts(t.Context(), x, nln.Parts{})
		if err := errors.Join(err1, err2); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("spaces %q: other parts from what was kept (%v)", c.spaces, err)
		}
	}
	if s := fitTwin(t, newTwin(), with(), func(c *nln.Config) { c.Spaces = []string{"code"} }); s.Recon().Len() != 0 || s.Recon().F != 0 {
		t.Errorf("%d reconstructions of %d values, want none", s.Recon().Len(), s.Recon().F)
	}
}

// Networks run only for what is kept, and of that, when scoring, for what the
// policy needs; each image goes through each at most twice.
func TestSpacesCostNothingUnlessKept(t *testing.T) {
	const n = 37
	x := noise(9, testShape, n, 1).Images
	for _, c := range []struct {
		spaces                   []string
		space                    string
		index, calib, parts, own map[string]int // calls per image of Fit's two sets, Parts and Score
	}{
		{[]string{"image"}, "", nil, nil, nil, nil},
		{[]string{"latent", "image"}, "", nil, nil, nil, nil},
		{[]string{"residual"}, "", map[string]int{"q": 1}, map[string]int{"q": 2}, map[string]int{"q": 2}, map[string]int{"q": 1}},
		{[]string{"eq8"}, "", map[string]int{"f_con": 1}, map[string]int{"f_con": 1}, map[string]int{"f_con": 1}, nil},
		{[]string{"code"}, "", nil, map[string]int{"f_con": 1}, map[string]int{"f_con": 1}, map[string]int{"f_con": 1}},
		{allSpaces, "image", map[string]int{"q": 1, "f_con": 1}, map[string]int{"q": 2, "f_con": 2}, map[string]int{"q": 2, "f_con": 2}, nil},
		{allSpaces, "code", map[string]int{"q": 1, "f_con": 1}, map[string]int{"q": 2, "f_con": 2}, map[string]int{"q": 2, "f_con": 2}, map[string]int{"f_con": 1}},
	} {
		m := newTwin()
		s := fitTwin(t, m, nln.NewExact(testLatent), func(cfg *nln.Config) { cfg.Spaces, cfg.Space = c.spaces, c.space })
		maps := 0 // images whose maps Fit learns from, as Score does
		if slices.Contains(s.Config().Spaces, nln.SpaceImage) {
			maps = testCalib
		}
		for _, network := range []string{"q", "f_con"} {
			if got, want := m.calls[network], testTrain*c.index[network]+testCalib*c.calib[network]+maps*c.own[network]; got != want {
				t.Errorf("spaces %q: Fit ran %s on %d images, want %d", c.spaces, network, got, want)
			}
		}
		m.calls = map[string]int{}
		_, err := s.Parts(t.Context(), x, nln.Parts{})
		for _, network := range []string{"q", "f_con"} {
			if got, want := m.calls[network], n*c.parts[network]; got != want || err != nil {
				t.Errorf("spaces %q: Parts ran %s on %d images, want %d (%v)", c.spaces, network, got, want, err)
			}
		}
		m.calls = map[string]int{}
		_, err = s.Score(t.Context(), x, nil)
		for _, network := range []string{"q", "f_con"} {
			if got, want := m.calls[network], n*c.own[network]; got != want || err != nil {
				t.Errorf("spaces %q: Score ran %s on %d images, want %d (%v)", c.spaces, network, got, want, err)
			}
		}
	}
}

// In every space an image has the same bits alone, in any batch and with any
// batch size, and whichever spaces are kept beside it.
func TestSpacesIndependentOfBatch(t *testing.T) {
	x := noise(9, testShape, 37, 1).Images
	want, err := fitTwin(t, newTwin(), nln.NewExact(testLatent), nil).Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{1, 5, 100} {
		s := fitTwin(t, newTwin(), nln.NewExact(testLatent), func(c *nln.Config) { c.Batch = batch })
		for _, size := range []int{1, 11, 37} {
			var got nln.Parts
			for lo := 0; lo < x.N; lo += size {
				if got, err = s.Parts(t.Context(), x.Slice(lo, min(lo+size, x.N)), got); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("batches of %d in pieces of %d: parts differ", size, batch)
			}
		}
	}
	for i, name := range allSpaces {
		got, err := fitTwin(t, newTwin(), nln.NewExact(testLatent), func(c *nln.Config) { c.Spaces = []string{name} }).Parts(t.Context(), x, nln.Parts{})
		if err != nil || !reflect.DeepEqual(got.Spaces, want.Spaces[i:i+1]) {
			t.Errorf("%s kept alone: other errors than kept with others (%v)", name, err)
		}
	}
}

// A policy scores in the space that it names: by Score, by a stream and from
// parts alike, and as if that space had been kept alone.
func TestPolicyNamesSpace(t *testing.T) {
	x := noise(9, testShape, 20, 1).Images
	s := fitTwin(t, newTwin(), nln.NewExact(testLatent), nil)
	if c := s.Config(); c.Space != "residual" || !slices.Equal(c.Spaces, allSpaces) {
		t.Errorf("space %q of %q, want the model's first and all", c.Space, c.Spaces)
	}
	for _, name := range allSpaces {
		policy := s.Config().Policy
		policy.Space = name
		named, err := s.With(policy)
		if err != nil {
			t.Fatal(err)
		}
		got, err1 := named.Score(t.Context(), x, nil)
		p, err2 := s.Parts(t.Context(), x, nln.Parts{}) // its default space first
		own, err3 := named.Parts(t.Context(), x, nln.Parts{})
		alone, err4 := fitTwin(t, newTwin(), nln.NewExact(testLatent), func(c *nln.Config) { c.Spaces = []string{name} }).Score(t.Context(), x, nil)
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, alone) {
			t.Errorf("%s: other scores than with this space alone", name)
		}
		if own.Spaces[0].Space != name || named.CalibrationParts().Spaces[0].Space != name {
			t.Errorf("%s: parts have the space %q first, calibration %q", name, own.Spaces[0].Space, named.CalibrationParts().Spaces[0].Space)
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], named.Calibration().Score(p, i)) || got[i].Error != own.E(i, policy.K) {
				t.Errorf("%s: image %d: %+v, from parts %+v", name, i, got[i], named.Calibration().Score(p, i))
			}
		}
	}
	_, err := s.With(nln.Policy{K: 1, FPR: .1, Space: nln.SpaceLatent})
	wantError(t, "not kept", err, "nln: ", `space is "latent"`, `"residual" "eq8"`)
}

func TestBadSpaces(t *testing.T) {
	image, latent, recon := nln.Feature{Of: nln.OfImage}, nln.Feature{Of: nln.OfLatent}, nln.Feature{Of: nln.OfReconstruction}
	q := nln.Feature{Of: nln.OfReconstruction, Network: "q"}
	for name, c := range map[string]struct {
		spaces []nln.Space
		keep   []string
		want   string
	}{
		"none":           {[]nln.Space{}, nil, "no space"},
		"no name":        {[]nln.Space{{"", 30, image, recon}}, nil, `space 0 of the model has the name ""`},
		"one name":       {[]nln.Space{{"a", 30, image, recon}, {"a", 30, image, recon}}, nil, `space 1 of the model has the name "a"`},
		"neighbor image": {[]nln.Space{{"a", 30, recon, image}}, nil, "features x of a neighbour"},
		"unknown input":  {[]nln.Space{{"a", 30, nln.Feature{Of: "y"}, recon}}, nil, `feature of "y"`},
		"of latent":      {[]nln.Space{{"a", 3, latent, nln.Feature{Of: nln.OfLatent, Network: "q"}}}, nil, "feature q(z)"},
		"pixels":         {[]nln.Space{{"a", 29, image, recon}}, nil, `space "a" has 29 values, its feature x has 30`},
		"latents":        {[]nln.Space{{"a", 5, q, latent}}, nil, `space "a" has 5 values, its feature z has 3`},
		"two lengths":    {[]nln.Space{{"a", 5, q, q}, {"b", 6, q, q}}, nil, `space "b" has 6 values, its feature q(g(z)) has 5`},
		"no values":      {[]nln.Space{{"a", 0, q, q}}, nil, `space "a" has 0 values`},
		"unknown":        {nil, []string{"residual", "nose"}, `no space "nose", only ["residual"`},
		"twice":          {nil, []string{"code", "code"}, `"code" is named twice`},
	} {
		m := newTwin()
		m.spaces = c.spaces
		cfg := nln.DefaultConfig()
		cfg.Spaces = c.keep
		_, err := nln.Fit(t.Context(), m, nln.NewExact(testLatent), noise(2, testShape, 9, .5), noise(3, testShape, 9, .5), cfg)
		wantError(t, name, err, "nln: fit: ", c.want)
	}
	cfg := nln.DefaultConfig()
	cfg.Space = "code"
	_, err := nln.Fit(t.Context(), newLinear(1, testShape, testLatent), nln.NewExact(testLatent), noise(2, testShape, 9, .5), noise(3, testShape, 9, .5), cfg)
	wantError(t, "space of a plain model", err, `space is "code" but only ["image"]`)
}

func TestBrokenNetworks(t *testing.T) {
	m := newTwin()
	idx := opaque{nln.NewExact(testLatent)}
	s := fitTwin(t, m, idx, nil)
	x := noise(9, testShape, 20, 1).Images
	m.fail = errors.New("out of memory")
	_, err := s.Score(t.Context(), x, nil)
	wantError(t, "failure", err, "nln: compute q(x) of images from 0 on: out of memory")
	m.fail, m.spoil, m.spoiled = nil, float32(math.NaN()), "f_con"
	_, err = s.Parts(t.Context(), x, nln.Parts{})
	wantError(t, "NaN", err, "image 15: value 2 of f_con(g(z)) is NaN")
	_, err = nln.Fit(t.Context(), m, nln.NewExact(testLatent), noise(2, testShape, 9, .5), noise(3, testShape, 9, .5), nln.DefaultConfig())
	wantError(t, "NaN in train", err, "train: image 8: value 2 of f_con(g(z)) is NaN")

	kept := s.Kept()
	for i, table := range kept.Tables {
		less := kept
		less.Tables = slices.Delete(slices.Clone(kept.Tables), i, i+1)
		_, err := nln.NewScorer(m, idx, less, s.Config())
		wantError(t, "missing table", err, "no table of "+table.Feature.String()+",")
	}
}
