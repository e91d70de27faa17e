package nln_test

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// Patches overlap, and the last of a row ends at the border.
var (
	patched = nln.Patched{Grid: dataset.Grid{Patch: 4, Stride: 3}, Image: dataset.Shape{C: 2, H: 8, W: 9}}
	patch   = dataset.Shape{C: 2, H: 4, W: 4}
)

// fitPatches returns a scorer of images by their patches, and the same model and
// index by itself, for single patches.
func fitPatches(t *testing.T) (images, single *nln.Scorer) {
	t.Helper()
	fit := func(p nln.Patched, calib dataset.Source) *nln.Scorer {
		cfg := nln.DefaultConfig()
		cfg.Batch, cfg.Patched, cfg.FPR = 8, p, .1
		s, err := nln.Fit(t.Context(), newLinear(1, patch, testLatent), nln.NewExact(testLatent), noise(2, patch, testTrain, .5), calib, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return fit(patched, noise(3, patched.Image, 30, .5)), fit(nln.Patched{}, noise(4, patch, 30, .5))
}

// The parts of an image are the means and the maxima over those of its patches, to
// the neighbour.
func TestPooling(t *testing.T) {
	s, single := fitPatches(t)
	if s.Shape() != patched.Image || single.Shape() != patch {
		t.Fatalf("shapes %v and %v", s.Shape(), single.Shape())
	}
	x := noise(5, patched.Image, 7, .9).Images
	have, err := s.Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	if err := have.Check(); err != nil {
		t.Error(err)
	}
	if have.Len() != 7 {
		t.Fatalf("parts of %d images", have.Len())
	}
	per := len(patched.Grid.Origins(patched.Image))
	cut := patched.Grid.Cut(x, make([]float32, 7*per*patch.Len()))
	rows, err := single.Parts(t.Context(), cut, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	close := func(what string, i, k int, have, want float64) {
		if math.Abs(have-want) > 1e-9*math.Max(1, want) {
			t.Errorf("image %d, %d neighbours: %s is %v, want %v", i, k, what, have, want)
		}
	}
	for i := range have.Len() {
		for k := 1; k <= have.K; k++ {
			var e, d, local, recon float64
			farthest := i * per
			for p := i * per; p < (i+1)*per; p++ {
				e += rows.E(p, k) / float64(per)
				recon += rows.Recon[p] / float64(per)
				d, local = max(d, rows.D(p, k)), max(local, rows.Local(p, k, nln.DefaultLocal().Power))
				if rows.D(p, rows.K) > rows.D(farthest, rows.K) {
					farthest = p
				}
			}
			close("error", i, k, have.E(i, k), e)
			close("distance", i, k, have.D(i, k), d)
			close("local score", i, k, have.Local(i, k, nln.DefaultLocal().Power), local)
			close("reconstruction error", i, k, have.Recon[i], recon)
			if !slices.Equal(have.Neighbors(i, k), rows.Neighbors(farthest, k)) {
				t.Errorf("image %d: neighbours %v, want those of patch %d, %v", i, have.Neighbors(i, k), farthest, rows.Neighbors(farthest, k))
			}
		}
	}
	// Scores are those of the pooled parts, whatever the batch.
	scores, err := s.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, sc := range scores {
		want := s.Calibration().Score(have, i)
		close("score", i, 0, sc.Score, want.Score)
		close("local", i, 0, sc.Local, want.Local)
		one, err := s.Score(t.Context(), x.Slice(i, i+1), nil)
		if err != nil || one[0].Score != sc.Score {
			t.Errorf("image %d alone scores %v, %v, want %v", i, one[0].Score, err, sc.Score)
		}
	}
	all, err := s.PartsAll(t.Context(), noise(5, patched.Image, 7, .9))
	if err != nil || !slices.Equal(all.Distance, have.Distance) || !slices.Equal(all.Recon, have.Recon) {
		t.Errorf("parts of a source differ: %v", err)
	}
	if s.CalibrationParts().Len() != 30 {
		t.Errorf("calibrated on %d images", s.CalibrationParts().Len())
	}
}

// Maps by their definition, a pixel at a time.
func TestMaps(t *testing.T) {
	s, single := fitPatches(t)
	x := noise(6, patched.Image, 3, .9).Images
	scores, maps, err := s.ScoreMaps(t.Context(), x, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := s.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	origins := patched.Grid.Origins(patched.Image)
	per, k := len(origins), s.Config().K
	cut := patched.Grid.Cut(x, make([]float32, 3*per*patch.Len()))
	rows, err := single.Parts(t.Context(), cut, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	pix := s.Pixels()
	if pix == nil || pix.Images != 30 {
		t.Fatalf("pixels %+v", pix)
	}
	row := make([]float32, patch.Len())
	for i, m := range maps {
		if scores[i].Score != plain[i].Score {
			t.Errorf("image %d: score %v with maps, %v without", i, scores[i].Score, plain[i].Score)
		}
		for y := range m.H {
			for xx := range m.W {
				var e, d, n float64
				for p, o := range origins {
					if y < o.Y || y >= o.Y+4 || xx < o.X || xx >= o.X+4 {
						continue
					}
					n++
					d += rows.D(i*per+p, k)
					for _, id := range rows.Neighbors(i*per+p, k) {
						s.Recon().Row(int(id), row)
						for c := range 2 {
							at := (c*4+y-o.Y)*4 + xx - o.X
							e += math.Abs(float64(cut.At(i*per + p)[at]-row[at])) / float64(2*k)
						}
					}
				}
				at := y*m.W + xx
				if math.Abs(float64(m.Error[at])-e/n) > 1e-5 || math.Abs(float64(m.Distance[at])-d/n) > 1e-5 {
					t.Fatalf("image %d, pixel %d,%d: error %v and distance %v, want %v and %v", i, y, xx, m.Error[at], m.Distance[at], e/n, d/n)
				}
				alpha := s.Config().Alpha
				want := alpha*(float64(m.Error[at])-pix.Error.Min)/(pix.Error.Max-pix.Error.Min) +
					(1-alpha)*(float64(m.Distance[at])-pix.Distance.Min)/(pix.Distance.Max-pix.Distance.Min)
				if math.Abs(float64(m.Score[at])-want) > 1e-5 {
					t.Fatalf("score of a pixel %v, want %v", m.Score[at], want)
				}
			}
		}
		// The error term in image space is the mean of the map where patches do not
		// overlap; here the plain error of the whole is near the mean of its map.
		if m.Recon == nil {
			t.Fatal("no reconstruction error")
		}
	}
	// Of the calibration images the shares of the tail are above its thresholds.
	_, normal, err := s.ScoreMaps(t.Context(), noise(3, patched.Image, 30, .5).Images, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pix.Tail {
		above, all := 0., 0.
		for _, m := range normal {
			for _, v := range m.Score {
				all++
				if float64(v) > p.Threshold {
					above++
				}
			}
		}
		if above > p.FPR*all || above < p.FPR*all-2 {
			t.Errorf("%v of %v normal pixels above the threshold for %v", above, all, p.FPR)
		}
	}
	if got := pix.Threshold(.003); got != pix.Threshold(.002) || pix.Threshold(.003) < pix.Threshold(.01) {
		t.Errorf("threshold for .003 is %v", got)
	}
	other, err := s.With(nln.Policy{K: 2, Alpha: .5, FPR: .1})
	if err != nil {
		t.Fatal(err)
	}
	if other.Pixels() != nil {
		t.Error("the maps' thresholds are said to hold for another policy")
	}
}

// Whole images have one patch, and the maps of single ones are those of their error.
func TestMapsOfWholeImages(t *testing.T) {
	_, s := fitPatches(t)
	x := noise(7, patch, 5, .9).Images
	scores, maps, err := s.ScoreMaps(t.Context(), x, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	pictures, err := s.Pictures(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range maps {
		var e, recon float64
		for j := range m.Error {
			e += float64(m.Error[j]) / float64(len(m.Error))
			recon += float64(m.Recon[j]) / float64(len(m.Recon))
			if math.Abs(float64(m.Distance[j])-scores[i].Distance) > 1e-6 {
				t.Fatalf("distance %v, want %v", m.Distance[j], scores[i].Distance)
			}
		}
		if math.Abs(e-scores[i].Error) > 1e-6 || math.Abs(recon-scores[i].Recon) > 1e-6 {
			t.Errorf("means %v and %v, want %v and %v", e, recon, scores[i].Error, scores[i].Recon)
		}
		row := s.Recon().Row(int(scores[i].Neighbors[1]), make([]float32, patch.Len()))
		if len(pictures[i].Neighbors) != s.Config().K || !slices.Equal(pictures[i].Neighbors[1], row) {
			t.Errorf("picture of the second neighbour of image %d is another", i)
		}
	}
}

// Pictures are put together from those of the patches.
func TestPictures(t *testing.T) {
	s, single := fitPatches(t)
	x := noise(8, patched.Image, 2, .9).Images
	have, err := s.Pictures(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	per := len(patched.Grid.Origins(patched.Image))
	cut := patched.Grid.Cut(x, make([]float32, 2*per*patch.Len()))
	rows, err := single.Parts(t.Context(), cut, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	first := s.Recon().Row(int(rows.Neighbors(per, 1)[0]), make([]float32, patch.Len()))
	second := s.Recon().Row(int(rows.Neighbors(per+1, 1)[0]), make([]float32, patch.Len()))
	n := patched.Image.H * patched.Image.W
	if got := have[1].Neighbors[0]; got[n] != first[16] || math.Abs(float64(got[n+3]-(first[19]+second[16])/2)) > 1e-6 {
		t.Errorf("the picture of the nearest begins %v ... %v in its second channel, want %v and the mean of %v and %v", got[n], got[n+3], first[16], first[19], second[16])
	}
	if len(have[0].Recon) != patched.Image.Len() {
		t.Errorf("a reconstruction of %d values", len(have[0].Recon))
	}
}

func TestPatchedErrors(t *testing.T) {
	cfg := nln.DefaultConfig()
	for _, p := range []nln.Patched{
		{Grid: dataset.Grid{Patch: 5, Stride: 5}, Image: patched.Image},
		{Grid: dataset.Grid{Patch: 4, Stride: 3}, Image: dataset.Shape{C: 2, H: 3, W: 9}},
		{Grid: dataset.Grid{Patch: 4, Stride: 3}, Image: dataset.Shape{C: 1, H: 8, W: 9}},
	} {
		cfg.Patched = p
		if _, err := nln.Fit(t.Context(), newLinear(1, patch, 3), nln.NewExact(3), noise(2, patch, 20, .5), noise(3, p.Image, 20, .5), cfg); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
	s, _ := fitPatches(t)
	if _, err := s.Score(t.Context(), noise(2, patch, 2, .5).Images, nil); err == nil {
		t.Error("patches are scored as images")
	}
}

// Without a cache neighbours are decoded again: the same scores, maps and pictures to
// the last bit of float32, of whole images and of patches, and of a scorer made out of
// what the first one kept.
func TestCacheNone(t *testing.T) {
	for _, p := range []nln.Patched{{}, patched} {
		shape := patch
		if p != (nln.Patched{}) {
			shape = p.Image
		}
		fit := func(cache nln.Cache) *nln.Scorer {
			cfg := nln.DefaultConfig()
			cfg.Batch, cfg.Patched, cfg.Cache = 8, p, cache
			s, err := nln.Fit(t.Context(), newLinear(1, patch, testLatent), nln.NewExact(testLatent), noise(2, patch, testTrain, .5), noise(3, shape, 30, .5), cfg)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		kept, none := fit(nln.CacheFloat32), fit(nln.CacheNone)
		if n := len(none.Kept().Tables); n != 0 || none.Recon().F != patch.Len() || none.Recon().Len() != 0 {
			t.Errorf("%d tables, reconstructions of %d values", n, none.Recon().F)
		}
		again, err := nln.NewScorer(none.Model(), none.Index(), none.Kept(), none.Config())
		if err != nil {
			t.Fatal(err)
		}
		x := noise(5, shape, 9, .9).Images
		want, wantMaps, err := kept.ScoreMaps(t.Context(), x, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		pictures, err := kept.Pictures(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*nln.Scorer{none, again} {
			have, maps, err := s.ScoreMaps(t.Context(), x, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := s.Score(t.Context(), x, nil)
			if err != nil {
				t.Fatal(err)
			}
			pics, err := s.Pictures(t.Context(), x)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if have[i].Score != want[i].Score || plain[i].Score != want[i].Score || !slices.Equal(maps[i].Score, wantMaps[i].Score) || !slices.Equal(pics[i].Neighbors[2], pictures[i].Neighbors[2]) {
					t.Fatalf("image %d scores %v and %v, want %v", i, have[i].Score, plain[i].Score, want[i].Score)
				}
			}
		}
		if kept.Config().Memory(kept.Model(), 100) <= none.Config().Memory(none.Model(), 100) {
			t.Error("no memory is saved")
		}
	}
}

// A scorer of patches that changes what is indexed is the one that is fitted to the
// same patches, to the bit, maps included.
func TestChangePatches(t *testing.T) {
	calib := noise(3, patched.Image, 30, .5)
	fit := func(n int) (*nln.Scorer, *nln.Held) {
		cfg := nln.DefaultConfig()
		cfg.Batch, cfg.Patched = 8, patched
		for i := range n {
			cfg.Sources = append(cfg.Sources, int64(i/5))
		}
		train := noise(2, patch, testTrain, .5)
		s, err := nln.Fit(t.Context(), newLinear(1, patch, testLatent), nln.NewExact(testLatent), images{Images: train.Slice(0, n)}, calib, cfg)
		if err != nil {
			t.Fatal(err)
		}
		h, err := s.Hold(t.Context(), calib)
		if err != nil {
			t.Fatal(err)
		}
		return s, h
	}
	some, held := fit(40)
	all, _ := fit(testTrain)
	c := nln.Change{Add: images{Images: noise(2, patch, testTrain, .5).Slice(40, testTrain)}, Held: held}
	for i := 40; i < testTrain; i++ {
		c.Sources = append(c.Sources, int64(i/5))
	}
	have, err := some.Change(t.Context(), nln.NewExact(testLatent), c)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(have.Kept(), all.Kept()) {
		t.Error("added patches give another scorer than fitting to all")
	}
	var gone []int64
	for i := 40; i < testTrain; i++ {
		gone = append(gone, int64(i))
	}
	back, err := have.Change(t.Context(), nln.NewExact(testLatent), nln.Change{Remove: gone, Held: held})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Kept(), some.Kept()) {
		t.Error("removing what was added does not lead back")
	}
}
