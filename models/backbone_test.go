package models

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
)

// backboneTol is absolute, of features about 1: both sides are libtorch in float32,
// of other versions and processors.
const backboneTol = 1e-5

// backboneCases are those of testdata/backbone.py, which made backbone.pt as well.
func backboneCases(t *testing.T) (cases []struct {
	Shape    []int
	Features [][]float32
}) {
	t.Helper()
	text, err := os.ReadFile("testdata/backbone.json")
	if err == nil {
		err = json.Unmarshal(text, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func openBackbone(t *testing.T) *Backbone {
	t.Helper()
	b, err := OpenBackbone("testdata/backbone.pt", coretest.Device(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// patterns returns n images of values that depend on name alone.
func patterns(name string, n int, shape dataset.Shape) dataset.Images {
	x := dataset.Images{Shape: shape, N: n}
	for _, v := range values(name, n*shape.Len()) {
		x.Pix = append(x.Pix, float32(v))
	}
	return x
}

func TestBackboneGivesPyTorchsFeatures(t *testing.T) {
	if err := torch.Load(); err != nil {
		t.Fatal(err)
	}
	before := torch.LiveHandles()
	b := openBackbone(t)
	for _, c := range backboneCases(t) {
		shape := dataset.Shape{C: c.Shape[1], H: c.Shape[2], W: c.Shape[3]}
		name := map[int]string{1: "images 1", 3: "images 3"}[shape.C]
		v, dim, err := b.Features(t.Context(), patterns(name, c.Shape[0], shape))
		if err != nil {
			t.Fatal(err)
		}
		if dim != len(c.Features[0]) || len(v) != len(c.Features)*dim {
			t.Fatalf("%v: %d values of %d, want %d of %d", shape, len(v), dim, len(c.Features)*len(c.Features[0]), len(c.Features[0]))
		}
		for i, row := range c.Features {
			for j, want := range row {
				if got := v[i*dim+j]; !(math.Abs(float64(got-want)) <= onDevice(t, backboneTol)) {
					t.Errorf("%v: image %d, feature %d: %v, want %v", shape, i, j, got, want)
				}
			}
		}
	}
	b.Close()
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}

// More images than go through at a time give what each gives alone.
func TestBackboneFeaturesInParts(t *testing.T) {
	b := openBackbone(t)
	const n = 2*backboneImages + 3
	x := patterns("parts", n, dataset.Shape{C: 3, H: 20, W: 17})
	all, dim, err := b.Features(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() {
			one, d, err := b.Features(t.Context(), x.Slice(i, i+1))
			if err != nil || d != dim {
				t.Errorf("image %d: %d features, want %d: %v", i, d, dim, err)
				return
			}
			for j, want := range all[i*dim : (i+1)*dim] {
				if math.Abs(float64(one[j]-want)) > onDevice(t, backboneTol) {
					t.Errorf("image %d: feature %d is %v alone, %v among %d", i, j, one[j], want, n)
				}
			}
		})
	}
	wait.Wait()
}

func TestBackboneErrors(t *testing.T) {
	b := openBackbone(t)
	shape := dataset.Shape{C: 3, H: 4, W: 4}
	for _, c := range []struct {
		x    dataset.Images
		want string
	}{
		{patterns("x", 1, dataset.Shape{C: 2, H: 4, W: 4}), "images of 4x4x2, want 1 or 3 channels"},
		{dataset.Images{Shape: shape}, "0 images"},
		{dataset.Images{Shape: shape, N: 2, Pix: make([]float32, 48)}, "2 images of 4x4x3, 48 pixel values"},
		{dataset.Images{Shape: dataset.Shape{C: 3}, N: 1}, "1 images of 0x0x3"},
		{dataset.Images{Shape: shape, N: 1, Pix: append(make([]float32, 47), float32(math.NaN()))}, "testdata/backbone.pt: the script gives values that are not finite"},
	} {
		if _, _, err := b.Features(t.Context(), c.x); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := b.Features(ctx, patterns("x", 1, shape)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	b.Close()
	if _, _, err := b.Features(t.Context(), patterns("x", 1, shape)); err == nil || !strings.Contains(err.Error(), "after Close") {
		t.Errorf("closed: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "net.pt")
	if _, err := OpenBackbone(missing, coretest.Device(t)); err == nil || !strings.Contains(err.Error(), "models: open backbone: torch: load script: "+missing) {
		t.Errorf("missing: %v", err)
	}
}
