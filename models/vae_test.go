package models

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/nln"
)

var _ nln.Reconstructor = (*Autoencoder)(nil)

// floats returns what a network makes of all images of a set.
func floats(t *testing.T, n int, f func([]float32) error) []float32 {
	t.Helper()
	v := make([]float32, n)
	if err := f(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// reorder returns the images of set in the order of ids.
func reorder(set *dataset.Set, ids []int) dataset.Images {
	return set.Gather(ids, make([]float32, len(ids)*set.Size.Len()))
}

// heads returns mean and standard deviation of the latents of x.
func heads(t *testing.T, m *Autoencoder, x dataset.Images) (mean, sd []float32) {
	t.Helper()
	s := torch.NewScope(coretest.Device(t))
	defer s.Close()
	mu, logVar := m.vae.heads(pass{s: s}, s.FromFloats(x.Pix, x.N, x.C, x.H, x.W))
	mean, sd = mu.Floats(), logVar.Affine(.5, 0).Exp().Floats()
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return mean, sd
}

// A draw must be one of the right distribution, and the same whatever images
// are around and in whatever order.
func TestVAESample(t *testing.T) {
	atEnd(t)
	cfg := configOfArch(t, "paper", ArchVAE, dataset.Shape{C: 1, H: 8, W: 8})
	cfg.VAELatent, cfg.Seed = VAELatentSample, 3
	m := newModel(t, cfg)
	const n = 200
	set := waves(n, cfg.Shape)
	l := cfg.Latent
	x := reorder(set, identity(n))
	z := floats(t, n*l, func(z []float32) error { return m.Encode(t.Context(), x, z) })
	mean, sd := heads(t, m, x)
	var sum, squares float64
	for i := range z {
		e := float64(z[i]-mean[i]) / float64(sd[i])
		sum, squares = sum+e, squares+e*e
	}
	count := float64(n * l)
	// Five standard errors of the mean and of the variance of N(0, 1).
	if math.Abs(sum/count) > 5/math.Sqrt(count) || math.Abs(squares/count-1) > 5*math.Sqrt(2/count) {
		t.Errorf("draws have mean %v and variance %v, want 0 and 1", sum/count, squares/count)
	}

	ids := identity(n)
	slices.Reverse(ids)
	back := floats(t, n*l, func(z []float32) error { return m.Encode(t.Context(), reorder(set, ids), z) })
	for i := range n {
		for j := range l {
			if a, b := z[i*l+j], back[(n-1-i)*l+j]; math.Abs(float64(a-b)) > onDevice(t, batchTol)*(1+math.Abs(float64(a))) {
				t.Fatalf("latent %d of image %d is %v, and %v in another order", j, i, a, b)
			}
		}
	}

	cfg.Seed = 4
	other := newModel(t, cfg)
	if err := copyWeights(other, m); err != nil {
		t.Fatal(err)
	}
	if slices.Equal(floats(t, n*l, func(z []float32) error { return other.Encode(t.Context(), x, z) }), z) {
		t.Error("another seed draws the same")
	}
	if m.Reconstructs() {
		t.Error("the reconstruction is said not to be the decoded latent")
	}
}

func copyWeights(dst, src *Autoencoder) error {
	for i, p := range src.params {
		v := make([]float32, p.Len())
		if err := p.CopyTo(v); err != nil {
			return err
		}
		if dst.params[i].name != p.name {
			return fmt.Errorf("parameter %s for %s", dst.params[i].name, p.name)
		}
		if err := dst.params[i].Set(v); err != nil {
			return err
		}
	}
	return nil
}

// The authors' code indexes a projection that nothing trains, and decodes draws.
func TestVAEPreHead(t *testing.T) {
	atEnd(t)
	cfg := configOfArch(t, "code", ArchVAE, dataset.Shape{C: 1, H: 8, W: 8})
	cfg.Batch, cfg.Steps = 8, 3
	m := newModel(t, cfg)
	const n = 16
	set := waves(n, cfg.Shape)
	x := reorder(set, identity(n))
	projection := func() map[string]string {
		s := snapshot(t, m)
		return map[string]string{"weight": s["encoder.latent.weight"], "bias": s["encoder.latent.bias"]}
	}
	before := projection()
	if before["weight"] == "" {
		t.Fatal("no projection is kept with the weights")
	}
	train(t, m, set, Options{})
	if after := projection(); after["weight"] != before["weight"] || after["bias"] != before["bias"] {
		t.Error("training moved the projection")
	}

	z := floats(t, n*cfg.Latent, func(z []float32) error { return m.Encode(t.Context(), x, z) })
	mean, _ := heads(t, m, x)
	if slices.Equal(z, mean) {
		t.Error("the mean is indexed")
	}
	if !m.Reconstructs() {
		t.Fatal("the model does not say that it reconstructs otherwise")
	}
	size := len(x.Pix)
	got := floats(t, size, func(v []float32) error { return m.Reconstruct(t.Context(), x, v) })
	sample := *m
	sample.cfg.VAELatent = VAELatentSample
	draws := floats(t, n*cfg.Latent, func(z []float32) error { return sample.Encode(t.Context(), x, z) })
	want := floats(t, size, func(v []float32) error { return m.Decode(t.Context(), draws, v) })
	if !slices.Equal(got, want) {
		t.Error("the reconstruction is not the decoded draw")
	}
}

// The latent of an image is the mean unless the configuration says otherwise,
// for small images and for patches, with the latents apart from the variances.
func TestVAELatentIsTheMean(t *testing.T) {
	atEnd(t)
	for _, shape := range []dataset.Shape{{C: 1, H: 8, W: 8}, {C: 1, H: 64, W: 64}} {
		m := newModel(t, configOfArch(t, "paper", ArchVAE, shape))
		x := reorder(waves(5, shape), identity(5))
		z := floats(t, 5*m.LatentDim(), func(z []float32) error { return m.Encode(t.Context(), x, z) })
		if mean, sd := heads(t, m, x); !slices.Equal(z, mean) || slices.Equal(z, sd) {
			t.Errorf("%v: the latent is not the mean", shape)
		}
	}
}

// Reconstruct of any other model is the decoded latent.
func TestReconstructIsDecodedLatent(t *testing.T) {
	atEnd(t)
	for _, arch := range Archs() {
		m := newModel(t, configOfArch(t, "paper", arch, dataset.Shape{C: 1, H: 8, W: 8}))
		set := waves(5, m.Shape())
		x := reorder(set, identity(5))
		z := floats(t, 5*m.LatentDim(), func(z []float32) error { return m.Encode(t.Context(), x, z) })
		want := floats(t, len(x.Pix), func(v []float32) error { return m.Decode(t.Context(), z, v) })
		got := floats(t, len(x.Pix), func(v []float32) error { return m.Reconstruct(t.Context(), x, v) })
		if m.Reconstructs() || !slices.Equal(got, want) {
			t.Errorf("%s: the reconstruction is not the decoded latent", arch)
		}
	}
}

// Features taken from the last convolution are as many as it has values.
func TestFlatFeatures(t *testing.T) {
	atEnd(t)
	for _, c := range []struct {
		shape dataset.Shape
		want  int
	}{{grey28, 128 * 7 * 7}, {dataset.Shape{C: 1, H: 64, W: 64}, 32 * 8 * 8}} {
		cfg := configOfArch(t, "paper", ArchAERes, c.shape)
		cfg.QLayer = QFlatConv
		m := newModel(t, cfg)
		if got := m.Spaces()[0]; got.Dim != c.want {
			t.Errorf("%v: %d features, want %d", c.shape, got.Dim, c.want)
		}
		x := reorder(waves(2, c.shape), identity(2))
		floats(t, 2*c.want, func(v []float32) error { return m.Features(t.Context(), NetworkQ, x, v) })
		if _, ok := snapshot(t, m)["discriminator.latent.weight"]; ok {
			t.Errorf("%v: the discriminator has a layer of latents", c.shape)
		}
	}
}
