package models

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

const (
	// whiteTol bounds how far the covariance of whitened latents is from the
	// identity: float32 latents of some hundred images, whose least direction is
	// scaled up.
	whiteTol = 2e-2
	// sameTol bounds how far a reconstruction moves, whose weights have been
	// multiplied by a matrix and its inverse in float32.
	sameTol = 2e-3
)

// latentsOf returns what m makes of the images of set.
func latentsOf(t *testing.T, m *Autoencoder, set *dataset.Set) (z, xhat []float32) {
	t.Helper()
	ctx := context.Background()
	for x, err := range set.Batches(set.Len()) {
		if err != nil {
			t.Fatal(err)
		}
		z, xhat = make([]float32, x.N*m.LatentDim()), make([]float32, len(x.Pix))
		if err := m.Encode(ctx, x, z); err != nil {
			t.Fatal(err)
		}
		if err := nln.Reconstruct(ctx, m, x, z, xhat); err != nil {
			t.Fatal(err)
		}
	}
	return z, xhat
}

func largestDifference(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i])-float64(b[i])))
	}
	return d
}

// checkWhite makes sure that vectors of l values have unit variance in every direction.
func checkWhite(t *testing.T, z []float32, l int) {
	t.Helper()
	values := mat.NewDense(len(z)/l, l, nil)
	for i, v := range z {
		values.Set(i/l, i%l, float64(v))
	}
	var cov mat.SymDense
	stat.CovarianceMatrix(&cov, values, nil)
	for i := range l {
		for j := range l {
			want := 0.
			if i == j {
				want = 1
			}
			if got := cov.At(i, j); math.Abs(got-want) > whiteTol {
				t.Errorf("covariance %d, %d is %v, want %v", i, j, got, want)
			}
		}
	}
}

func TestWhiten(t *testing.T) {
	atEnd(t)
	patch := dataset.Shape{C: 1, H: 64, W: 64}
	for _, c := range []Config{
		configOfArch(t, "fast", ArchAE, grey28), configOfArch(t, "code", ArchAE, color32), configOfArch(t, "fast", ArchAAE, grey28),
		configOfArch(t, "fast", ArchVAE, grey28), configOfArch(t, "fast", ArchAERes, grey28), configOfArch(t, "fast", ArchAECon, grey28),
		configOfArch(t, "fast", ArchAE, patch), configOfArch(t, "fast", ArchVAE, patch),
	} {
		t.Run(c.Arch+" "+c.Shape.String(), func(t *testing.T) {
			c.Latent, c.Steps, c.Batch = 4, 4, 16
			set := waves(120, c.Shape)
			plain := newModel(t, c)
			c.Whiten = true
			white := newModel(t, c)
			for _, m := range []*Autoencoder{plain, white} {
				if _, err := Train(context.Background(), m, set, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			_, before := latentsOf(t, plain, set)
			z, after := latentsOf(t, white, set)
			if d := largestDifference(before, after); d > sameTol {
				t.Errorf("a reconstruction moved by %v", d)
			}
			checkWhite(t, z, c.Latent)
			if plain.Parameters() != white.Parameters() {
				t.Errorf("%d parameters whitened, %d before", white.Parameters(), plain.Parameters())
			}
		})
	}
}

// A training that goes on from its last checkpoint whitens what it whitened
// before, once.
func TestWhitenAgainFromTheCheckpoint(t *testing.T) {
	atEnd(t)
	c := configOfArch(t, "fast", ArchAE, grey28)
	c.Latent, c.Steps, c.Batch, c.Whiten = 4, 3, 16, true
	set, opt := waves(50, grey28), Options{Checkpoint: filepath.Join(t.TempDir(), "c")}
	var z [2][]float32
	for i := range z {
		m := newModel(t, c)
		if _, err := Train(context.Background(), m, set, opt); err != nil {
			t.Fatal(err)
		}
		z[i], _ = latentsOf(t, m, set)
	}
	if d := largestDifference(z[0], z[1]); d != 0 {
		t.Errorf("a latent value moved by %v", d)
	}
}

// The second encoder finds latents again, and must go on to find the same ones.
func TestWhitenMovesTheSecondEncoderToo(t *testing.T) {
	atEnd(t)
	c := configOfArch(t, "fast", ArchAECon, grey28)
	c.Latent = 3
	m := newModel(t, c)
	second := func() []float32 {
		set := waves(5, grey28)
		z := make([]float32, 5*c.Latent)
		for x := range set.Batches(5) {
			if err := m.Features(context.Background(), NetworkFCon, x, z); err != nil {
				t.Fatal(err)
			}
		}
		return z
	}
	before := second()
	a := mat.NewDense(3, 3, []float64{2, 0, 0, 0, 3, 0, 0, 1, 1})
	var inverse mat.Dense
	if err := inverse.Inverse(a); err != nil {
		t.Fatal(err)
	}
	if err := m.foldIn(a, &inverse); err != nil {
		t.Fatal(err)
	}
	after := second()
	for i := 0; i < len(after); i += 3 {
		want := []float32{2 * before[i], 3 * before[i+1], before[i+1] + before[i+2]}
		if d := largestDifference(after[i:i+3], want); d > onDevice(t, convTol) {
			t.Errorf("image %d: %v, want %v", i/3, after[i:i+3], want)
		}
	}
}

func TestWhitenRefuses(t *testing.T) {
	c := configOfArch(t, "code", ArchVAE, grey28)
	c.Whiten = true
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "vae_latent") {
		t.Errorf("error %v, want one that names vae_latent", err)
	}
	if err := torch.Load(); err != nil {
		t.Fatal(err)
	}
	atEnd(t)
	same := &dataset.Set{Name: "same", Size: grey28, Pix: make([]uint8, 20*grey28.Len())}
	if err := newModel(t, configOfArch(t, "fast", ArchAE, grey28)).whitenOver(context.Background(), same); err == nil || !strings.Contains(err.Error(), "all alike") {
		t.Errorf("error %v, want one that says the images are all alike", err)
	}
}
