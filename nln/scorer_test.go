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

// slowParts computes the parts of x from the definition: it decodes each
// neighbour anew and averages each prefix from its beginning.
func slowParts(t *testing.T, m nln.Model, train, x dataset.Images, k int) nln.Parts {
	t.Helper()
	ctx, l, n := t.Context(), m.LatentDim(), m.Shape().Len()
	index, z := make([]float32, train.N*l), make([]float32, x.N*l)
	if err := errors.Join(m.Encode(ctx, train, index), m.Encode(ctx, x, z)); err != nil {
		t.Fatal(err)
	}
	decode := func(z []float32) []float32 {
		xhat := make([]float32, n)
		if err := m.Decode(ctx, z, xhat); err != nil {
			t.Fatal(err)
		}
		return xhat
	}
	nb := slowSearch(l, index, z, k)
	p := nln.Parts{K: k, IDs: nb.IDs, Dist: nb.Dist, Spaces: inImage(nil, 0)}
	for i := range x.N {
		own := slowMeanAbs(x.At(i), decode(z[i*l:(i+1)*l]))
		p.Recon, p.Spaces[0].Own = append(p.Recon, own), append(p.Spaces[0].Own, own)
		for last := range k {
			var e, d float64
			for _, id := range p.IDs[i*k : i*k+last+1] {
				zj := index[id*int64(l) : (id+1)*int64(l)]
				e += slowMeanAbs(x.At(i), decode(zj))
				var sum float64
				for j, v := range zj {
					sum += math.Pow(float64(v)-float64(z[i*l+j]), 2)
				}
				d += float64(float32(math.Sqrt(sum)))
			}
			p.Spaces[0].Mean = append(p.Spaces[0].Mean, e/float64(last+1))
			p.Distance = append(p.Distance, d/float64(last+1))
		}
	}
	return p
}

func TestPartsEqualDefinition(t *testing.T) {
	x := noise(9, testShape, 40, 1).Images
	for _, cache := range []nln.Cache{nln.CacheFloat32, nln.CacheUint8} {
		s := fit(t, func(c *nln.Config) { c.Cache = cache; c.MaxK = 7 })
		got, err := s.Parts(t.Context(), x, nln.Parts{})
		if err != nil {
			t.Fatal(err)
		}
		want := slowParts(t, s.Model(), noise(2, testShape, testTrain, .5).Images, x, 7)
		if err := got.Check(); err != nil || got.K != 7 || got.Len() != 40 || !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.Dist, want.Dist) {
			t.Fatalf("%s: %d images with %d neighbours %v (%v), want %v", cache, got.Len(), got.K, got.IDs, err, want.IDs)
		}
		tol := map[nln.Cache]float64{nln.CacheFloat32: sumTol, nln.CacheUint8: roundTol}[cache]
		for i, e := range want.Spaces[0].Mean {
			if math.Abs(got.Spaces[0].Mean[i]-e) > tol || math.Abs(got.Distance[i]-want.Distance[i]) > sumTol {
				t.Fatalf("%s: terms %v, %v, want %v, %v", cache, got.Spaces[0].Mean[i], got.Distance[i], e, want.Distance[i])
			}
		}
		for i := range want.Recon {
			if math.Abs(got.Recon[i]-want.Recon[i]) > sumTol {
				t.Fatalf("%s: image %d: reconstruction error %v, want %v", cache, i, got.Recon[i], want.Recon[i])
			}
			if got.Spaces[0].Own[i] != got.Recon[i] {
				t.Fatalf("%s: image %d: own error %v, reconstruction error %v", cache, i, got.Spaces[0].Own[i], got.Recon[i])
			}
		}
	}
}

// A table model has the latent vectors it is told, one per image, and decodes
// everything to black.
type table struct {
	dim int
	of  map[float32][]float32 // latent vector by the image's first value
}

func (m table) Shape() dataset.Shape { return dataset.Shape{C: 1, H: 1, W: 1} }
func (m table) LatentDim() int       { return m.dim }
func (m table) Decode(_ context.Context, _ []float32, xhat []float32) error {
	clear(xhat)
	return nil
}
func (m table) Encode(_ context.Context, x dataset.Images, z []float32) error {
	for i := range x.N {
		copy(z[i*m.dim:], m.of[x.At(i)[0]])
	}
	return nil
}

func TestDistancePrefixes(t *testing.T) {
	m := table{2, map[float32][]float32{0: {0, 0}, .25: {3, 4}, .5: {6, 8}}}
	x := dataset.Images{Shape: m.Shape(), N: 3, Pix: []float32{0, .25, .5}}
	s, err := nln.Fit(t.Context(), m, nln.NewExact(2), images{Images: x}, images{Images: x}, nln.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Parts(t.Context(), x.Slice(0, 1), nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []float64{0, 2.5, 5}; !slices.Equal(p.Distance, want) {
		t.Errorf("distances over 1, 2, 3 neighbours %v, want %v", p.Distance, want)
	}
}

func TestIndexedImageFindsItself(t *testing.T) {
	train := noise(2, testShape, testTrain, .5).Images
	s := fit(t, func(c *nln.Config) { c.K = 1; c.Cache = nln.CacheFloat32 })
	scores, err := s.Score(t.Context(), train, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, sc := range scores {
		if sc.Distance != 0 || sc.Error != sc.Recon || !slices.Equal(sc.Neighbors, []int64{int64(i)}) {
			t.Errorf("image %d: distance %v, error %v of neighbours %v, reconstruction error %v", i, sc.Distance, sc.Error, sc.Neighbors, sc.Recon)
		}
	}
}

// An image has the same bits alone, in any batch and with any batch size.
func TestScoresIndependentOfBatch(t *testing.T) {
	x := noise(9, testShape, 37, 1).Images
	want, err := fit(t, nil).Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{1, 5, 16, 100} {
		s := fit(t, func(c *nln.Config) { c.Batch = batch })
		for _, size := range []int{1, 2, 11, 37} {
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
		all, err := s.PartsAll(t.Context(), images{Images: x})
		if err != nil || !reflect.DeepEqual(all, want) {
			t.Errorf("PartsAll in pieces of %d: parts differ (%v)", batch, err)
		}
	}
}

// ScoreAll, Score and the calibration's Score of the parts are one thing.
func TestScoreEqualsPartsAndStream(t *testing.T) {
	x := noise(9, testShape, 37, 1).Images
	s := fit(t, nil)
	scores, err := s.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for sc, err := range s.ScoreAll(t.Context(), images{Images: x}) {
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(sc, scores[i]) || !reflect.DeepEqual(sc, s.Calibration().Score(p, i)) {
			t.Errorf("image %d: %+v in a stream, %+v in a batch, %+v from parts", i, sc, scores[i], s.Calibration().Score(p, i))
		}
		i++
	}
	if i != x.N {
		t.Errorf("%d scores, want %d", i, x.N)
	}
	for range s.ScoreAll(t.Context(), images{Images: x}) {
		break // must not yield again
	}
}

// The neighbours of a query come out of the cache: only its own reconstruction
// is decoded.
func TestQueryDecodesOnlyItself(t *testing.T) {
	s := fit(t, nil)
	m := s.Model().(*linear)
	const fitted = testTrain + 2*testCalib // once for the parts and once for the maps
	if got := m.decoded.Load(); got != fitted {
		t.Errorf("fit decoded %d images, want %d", got, fitted)
	}
	if _, err := s.Score(t.Context(), noise(9, testShape, 37, 1).Images, nil); err != nil {
		t.Fatal(err)
	}
	if got := m.decoded.Load(); got != fitted+37 {
		t.Errorf("scoring 37 images decoded %d", got-fitted)
	}
}

// Eight bits move the error term by at most 1/510 and nothing else.
func TestUint8CacheEffect(t *testing.T) {
	x := noise(9, testShape, 60, 1).Images
	exact, err := fit(t, func(c *nln.Config) { c.Cache = nln.CacheFloat32 }).Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := fit(t, nil).Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	e, b := exact.Spaces[0].Mean, bytes.Spaces[0].Mean
	if reflect.DeepEqual(e, b) {
		t.Error("8 bits changed nothing: are they in use?")
	}
	for i := range e {
		if math.Abs(e[i]-b[i]) > roundTol {
			t.Errorf("error %v with 8 bits, %v without", b[i], e[i])
		}
	}
	exact.Spaces[0].Mean, bytes.Spaces[0].Mean = nil, nil
	if !reflect.DeepEqual(exact, bytes) {
		t.Error("8 bits changed more than the error term")
	}
}

// Another policy gives what fitting under it gives, and leaves the first alone.
func TestWithEqualsFit(t *testing.T) {
	x := noise(9, testShape, 20, 1).Images
	s := fit(t, nil)
	before, err := s.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	policy := nln.Policy{K: 5, Alpha: .3, FPR: .1}
	changed, err := s.With(policy)
	if err != nil {
		t.Fatal(err)
	}
	got, err := changed.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := fit(t, func(c *nln.Config) { c.Policy = policy }).Score(t.Context(), x, nil)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("With gives other scores than Fit (%v)", err)
	}
	if after, err := s.Score(t.Context(), x, nil); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("With changed the scorer it was called on (%v)", err)
	}
	_, err = s.With(nln.Policy{K: 11, Alpha: .5, FPR: .1})
	wantError(t, "K above MaxK", err, "K is 11 but 10", "MaxK")
	_, err = s.With(nln.Policy{K: 1, Alpha: 2, FPR: .1})
	wantError(t, "alpha", err, "alpha is 2")
}

// One scorer from many goroutines gives each its own images' scores.
func TestScoreConcurrently(t *testing.T) {
	s := fit(t, nil)
	x := noise(9, testShape, 64, 1).Images
	want, err := s.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			got, err := s.Score(t.Context(), x.Slice(i*8, (i+1)*8), nil)
			if err != nil || !reflect.DeepEqual(got, want[i*8:(i+1)*8]) {
				t.Errorf("images from %d on: other scores than alone (%v)", i*8, err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkScore(b *testing.B) {
	shape := dataset.Shape{C: 1, H: 28, W: 28}
	s, err := nln.Fit(b.Context(), newLinear(1, shape, 8), nln.NewExact(8), noise(2, shape, 2000, 1), noise(3, shape, 100, 1), nln.DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	x := noise(4, shape, 256, 1).Images
	var scores []nln.Score
	for b.Loop() {
		if scores, err = s.Score(b.Context(), x, scores[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(x.N*b.N)/b.Elapsed().Seconds(), "images/s")
}
