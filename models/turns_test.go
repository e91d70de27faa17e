package models

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

var square = dataset.Shape{C: 2, H: 8, W: 8}

// moved returns images of which the pixel in row i and column j of the one of a place is
// where from says, 0 outside of the image.
func moved(x dataset.Images, from func(place, i, j int) (si, sj int)) dataset.Images {
	out := x
	out.Pix = make([]float32, len(x.Pix))
	for at := range out.Pix {
		j, i, plane := at%x.W, at/x.W%x.H, at/(x.W*x.H)
		if si, sj := from(plane/x.C, i, j); si >= 0 && si < x.H && sj >= 0 && sj < x.W {
			out.Pix[at] = x.Pix[plane*x.H*x.W+si*x.W+sj]
		}
	}
	return out
}

// turnedBy says where a pixel of an image turned counterclockwise comes from.
func turnedBy(quarters, i, j, side int) (int, int) {
	for range quarters {
		i, j = j, side-1-i
	}
	return i, j
}

func allImages(set *dataset.Set) dataset.Images {
	ids := make([]int, set.Len())
	for i := range ids {
		ids[i] = i
	}
	return set.Gather(ids, make([]float32, set.Len()*set.Size.Len()))
}

// What the encoder is shown in training, against the same moved pixel by pixel; of 3
// images each is a change of its own, and some changes have none.
func TestSpoilt(t *testing.T) {
	for _, n := range []int{3, 23} {
		x := allImages(waves(n, square))
		part := func(place, parts int) int {
			for p := range parts {
				if place < (p+1)*n/parts {
					return p
				}
			}
			panic("beyond the last part")
		}
		for restore, from := range map[string]func(place, i, j int) (int, int){
			RestoreNothing: func(_, i, j int) (int, int) { return i, j },
			RestoreTurns:   func(place, i, j int) (int, int) { return turnedBy(part(place, 4), i, j, square.H) },
			RestoreShifts: func(place, i, j int) (int, int) {
				p := part(place, 9)
				return i + p/3 - 1, j + p%3 - 1
			},
		} {
			got := make([]float32, len(x.Pix))
			err := torch.Run(func() error {
				s := torch.NewScope(torch.CPU)
				err := Config{Arch: ArchAE, Restore: restore}.spoilt(s.FromFloats(x.Pix, n, x.C, x.H, x.W)).CopyTo(got)
				s.Close()
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, moved(x, from).Pix) {
				t.Errorf("%d images, restore %s: not what is expected", n, restore)
			}
		}
	}
}

// The loss of the first step is that of the unspoilt images against what the network,
// as it then is, makes of the spoilt ones.
func TestRestoreLoss(t *testing.T) {
	atEnd(t)
	c := configOfArch(t, "paper", ArchAE, square)
	c.Restore, c.Batch, c.Steps = RestoreTurns, 4, 1
	set := waves(4, square)
	m := newModel(t, c)
	x := allImages(set)
	for i := range x.Pix[:x.Shape.Len()] { // the images are dealt out at random: all alike but for their turn
		for n := range x.N {
			x.Pix[n*x.Shape.Len()+i] = x.Pix[i]
			set.Image(n)[i] = set.Image(0)[i]
		}
	}
	shown := moved(x, func(place, i, j int) (int, int) { return turnedBy(place, i, j, square.H) })
	z, xhat := make([]float32, x.N*m.LatentDim()), make([]float32, len(x.Pix))
	if err := m.Encode(t.Context(), shown, z); err != nil {
		t.Fatal(err)
	}
	if err := m.Decode(t.Context(), z, xhat); err != nil {
		t.Fatal(err)
	}
	var want float64
	for i := range xhat {
		d := float64(xhat[i] - x.Pix[i])
		want += d * d / float64(len(xhat))
	}
	if got := train(t, m, set, Options{}).FirstLoss; math.Abs(got-want) > 1e-6 {
		t.Errorf("loss %v, want %v", got, want)
	}
}

// Latents of four views are those of the image turned, side by side, the image's own
// first, from which alone it is decoded; also after the model was saved.
func TestViews(t *testing.T) {
	atEnd(t)
	const views = 4
	for _, arch := range []string{ArchAE, ArchAAE, ArchVAE, ArchAERes} {
		c := configOfArch(t, "paper", arch, square)
		c.Latent = 5
		one := newModel(t, c)
		c.Views = views
		made := newModel(t, c)
		var file bytes.Buffer
		if err := made.Save(&file); err != nil {
			t.Fatal(err)
		}
		four, err := Load(&file, made.Device())
		if err != nil {
			t.Fatal(err)
		}
		defer four.Close()
		if four.LatentDim() != views*c.Latent {
			t.Fatalf("%s: %d latent values", arch, four.LatentDim())
		}
		x := allImages(waves(7, square))
		z, xhat := make([]float32, x.N*four.LatentDim()), make([]float32, len(x.Pix))
		if err := four.Encode(t.Context(), x, z); err != nil {
			t.Fatal(err)
		}
		if err := four.Decode(t.Context(), z, xhat); err != nil {
			t.Fatal(err)
		}
		for v := range views {
			single, image := make([]float32, x.N*c.Latent), make([]float32, len(x.Pix))
			if err := one.Encode(t.Context(), moved(x, func(_, i, j int) (int, int) { return turnedBy(v, i, j, square.H) }), single); err != nil {
				t.Fatal(err)
			}
			for i := range x.N {
				if d := largestDifference(z[(i*views+v)*c.Latent:(i*views+v+1)*c.Latent], single[i*c.Latent:(i+1)*c.Latent]); d > 1e-5 {
					t.Errorf("%s: view %d of image %d is off by %v", arch, v, i, d)
				}
			}
			if v > 0 {
				continue
			}
			if err := one.Decode(t.Context(), single, image); err != nil {
				t.Fatal(err)
			}
			if d := largestDifference(xhat, image); d > 1e-5 {
				t.Errorf("%s: images are off by %v", arch, d)
			}
		}
	}
}

// The views are whitened as one: over all of them the latents have unit variance in
// every direction.
func TestWhitenViews(t *testing.T) {
	atEnd(t)
	c := configOfArch(t, "fast", ArchAE, square)
	c.Latent, c.Steps, c.Batch, c.Views, c.Whiten = 4, 4, 16, 4, true
	m, set := newModel(t, c), waves(120, square)
	train(t, m, set, Options{})
	z, _ := latentsOf(t, m, set)
	checkWhite(t, z, c.Latent)
}

func TestTurnsAreChecked(t *testing.T) {
	oblong := dataset.Shape{C: 1, H: 12, W: 8}
	for _, c := range []struct {
		arch  string
		shape dataset.Shape
		set   func(*Config)
		want  string // part of the error; "": none
	}{
		{ArchAE, square, func(c *Config) { c.Views, c.Restore = 4, RestoreTurns }, ""},
		{ArchAE, oblong, func(c *Config) { c.Restore = RestoreShifts }, ""},
		{ArchVAE, oblong, func(c *Config) { c.Restore = RestoreTurns }, ""}, // not of this model
		{ArchAE, square, func(c *Config) { c.Views = 2 }, "views is 2, want 4, or 0"},
		{ArchAECon, square, func(c *Config) { c.Views = 4 }, ""}, // nor is this
		{ArchVAE, square, func(c *Config) { c.Views, c.VAELatent = 4, VAELatentSample }, "views go with vae_latent mu"},
		{ArchAE, square, func(c *Config) { c.Restore, c.Batch = RestoreTurns, 3 }, "more than its 3 images"},
		{ArchAE, oblong, func(c *Config) { c.Views = 4 }, "cannot be turned"},
		{ArchAE, oblong, func(c *Config) { c.Restore = RestoreTurns }, "cannot be turned"},
		{ArchAE, square, func(c *Config) { c.Restore = "noise" }, `unknown restore "noise"`},
	} {
		cfg := configOfArch(t, "paper", c.arch, c.shape)
		c.set(&cfg)
		if err := cfg.Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s %v views %d restore %s: %v, want %q", c.arch, c.shape, cfg.Views, cfg.Restore, err, c.want)
		}
	}
}
