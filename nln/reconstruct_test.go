package nln_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A mirror is a twin model whose latent vectors are not what reconstructions are
// made from: these are the images with each value taken from 1.
type mirror struct {
	*twin
	off  bool // whether it is a model as any other
	fail error
}

func (m *mirror) Reconstructs() bool { return !m.off }

func (m *mirror) Decode(ctx context.Context, z, xhat []float32) error {
	if m.off {
		return m.twin.Decode(ctx, z, xhat)
	}
	return errors.New("the decoder takes other vectors")
}

func (m *mirror) Reconstruct(_ context.Context, x dataset.Images, xhat []float32) error {
	if m.off {
		return errors.New("not asked for")
	}
	if len(xhat) != len(x.Pix) || len(x.Pix) != x.N*x.Shape.Len() {
		return errors.New("wrong use of the model")
	}
	for i, v := range x.Pix {
		xhat[i] = 1 - v
	}
	return m.fail
}

func fitMirror(t *testing.T, m *mirror, cache nln.Cache) *nln.Scorer {
	t.Helper()
	cfg := nln.DefaultConfig()
	cfg.Batch, cfg.Cache, cfg.MaxK = 16, cache, 4
	s, err := nln.Fit(t.Context(), m, nln.NewExact(testLatent), noise(2, testShape, testTrain, .5), noise(3, testShape, testCalib, .5), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flipped returns 1 minus each value.
func flipped(v []float32) []float32 {
	w := make([]float32, len(v))
	for i := range v {
		w[i] = 1 - v[i]
	}
	return w
}

// All that is compared with a reconstruction is compared with the model's own:
// the table, the plain error, each image's own error, and what a network makes of
// it. The neighbours stay those of the latent vectors.
func TestReconstructorEqualsDefinition(t *testing.T) {
	m := &mirror{twin: newTwin()}
	train, x := noise(2, testShape, testTrain, .5).Images, noise(9, testShape, 20, 1).Images
	q := func(pix []float32) []float32 {
		v := make([]float32, testFeatures)
		if err := m.networks["q"].Encode(t.Context(), dataset.Images{Shape: testShape, N: 1, Pix: pix}, v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	s := fitMirror(t, m, nln.CacheFloat32)
	for i := range testTrain {
		if row := s.Recon().Row(i, make([]float32, testShape.Len())); !reflect.DeepEqual(row, flipped(train.At(i))) {
			t.Fatalf("table row %d: %v, want %v", i, row, flipped(train.At(i)))
		}
	}
	got, err := s.Parts(t.Context(), x, nln.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	same, err := fitMirror(t, &mirror{twin: newTwin(), off: true}, nln.CacheFloat32).Parts(t.Context(), x, nln.Parts{})
	if err != nil || !reflect.DeepEqual(same.IDs, got.IDs) || !reflect.DeepEqual(same.Dist, got.Dist) {
		t.Errorf("other neighbours than without reconstructions of its own (%v)", err)
	}
	image, features := got.Spaces[4], got.Spaces[0]
	for i := range x.N {
		own := slowMeanAbs(x.At(i), flipped(x.At(i)))
		ownFeatures := slowMeanAbs(q(x.At(i)), q(flipped(x.At(i))))
		if math.Abs(got.Recon[i]-own) > sumTol || math.Abs(image.Own[i]-own) > sumTol || math.Abs(features.Own[i]-ownFeatures) > sumTol {
			t.Errorf("image %d: own errors %v, %v, %v, want %v, %v", i, got.Recon[i], image.Own[i], features.Own[i], own, ownFeatures)
		}
		for k := 1; k <= got.K; k++ {
			var e, f float64
			for _, id := range got.Neighbors(i, k) {
				neighbor := flipped(train.At(int(id)))
				e += slowMeanAbs(x.At(i), neighbor) / float64(k)
				f += slowMeanAbs(q(x.At(i)), q(neighbor)) / float64(k)
			}
			at := i*got.K + k - 1
			if math.Abs(image.Mean[at]-e) > sumTol || math.Abs(features.Mean[at]-f) > sumTol {
				t.Errorf("image %d, K %d: errors %v, %v, want %v, %v", i, k, image.Mean[at], features.Mean[at], e, f)
			}
		}
	}
	// Put together again, the scorer gives the same.
	again, err := nln.NewScorer(m, s.Index(), s.Kept(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := again.Parts(t.Context(), x, nln.Parts{}); err != nil || !reflect.DeepEqual(p, got) {
		t.Errorf("other parts from what was kept (%v)", err)
	}
}

// A model that could, but says that it need not, is a model as any other.
func TestReconstructorThatDoesNot(t *testing.T) {
	x := noise(9, testShape, 20, 1).Images
	got, err1 := fitMirror(t, &mirror{twin: newTwin(), off: true}, nln.CacheUint8).Parts(t.Context(), x, nln.Parts{})
	want, err2 := fitTwin(t, newTwin(), nln.NewExact(testLatent), func(c *nln.Config) { c.MaxK, c.Cache = 4, nln.CacheUint8 }).Parts(t.Context(), x, nln.Parts{})
	if err1 != nil || err2 != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("other parts than of the plain model (%v, %v)", err1, err2)
	}
}

func TestReconstruct(t *testing.T) {
	x := noise(9, testShape, 3, 1).Images
	m := &mirror{twin: newTwin()}
	z, got, want := make([]float32, 3*testLatent), make([]float32, len(x.Pix)), make([]float32, len(x.Pix))
	if err := m.Encode(t.Context(), x, z); err != nil {
		t.Fatal(err)
	}
	if err := nln.Reconstruct(t.Context(), m, x, z, got); err != nil || !reflect.DeepEqual(got, flipped(x.Pix)) {
		t.Errorf("reconstructions %v (%v)", got, err)
	}
	m.fail = errors.New("out of memory")
	wantError(t, "failing", nln.Reconstruct(t.Context(), m, x, z, got), "nln: reconstruct: out of memory")
	_, err := nln.Fit(t.Context(), m, nln.NewExact(testLatent), noise(2, testShape, 5, .5), noise(3, testShape, 5, .5), nln.DefaultConfig())
	wantError(t, "failing", err, "nln: fit: train: images from 0 on: reconstruct: out of memory")
	if err := m.twin.Decode(t.Context(), z, want); err != nil {
		t.Fatal(err)
	}
	m.off = true
	if err := nln.Reconstruct(t.Context(), m, x, z, got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %v (%v), want %v", got, err, want)
	}
	m.off = false
	wantError(t, "decoder", m.Decode(t.Context(), z, got), "other vectors")
}
