package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/safetensors"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// A twoSided model compares by its own encoder as if that were a second one,
// in the ways of AE-con and AE-res.
type twoSided struct{ *models.Autoencoder }

func (m twoSided) Spaces() []nln.Space {
	l := m.LatentDim()
	of := func(in nln.Input, network string) nln.Feature { return nln.Feature{Of: in, Network: network} }
	return []nln.Space{
		{Name: "eq8", Dim: l, Query: of(nln.OfLatent, ""), Neighbor: of(nln.OfReconstruction, "f_con")},
		{Name: "code", Dim: l, Query: of(nln.OfReconstruction, "f_con"), Neighbor: of(nln.OfLatent, "")},
		{Name: "residual", Dim: l, Query: of(nln.OfImage, "q"), Neighbor: of(nln.OfReconstruction, "q")},
		nln.ImageSpace(m),
	}
}

func (m twoSided) Features(ctx context.Context, network string, x dataset.Images, dst []float32) error {
	if err := m.Encode(ctx, x, dst); err != nil || network == "f_con" {
		return err
	}
	for i := range dst {
		dst[i] *= -2 // q is another network
	}
	return nil
}

func asTwoSided(m *models.Autoencoder) nln.Model { return twoSided{m} }

// Everything that scores in several spaces are made of must come back.
func TestSpacesSurviveSaving(t *testing.T) {
	set := images(t, 5)
	for _, c := range []struct {
		keep   []string
		policy nln.Policy
	}{
		{nil, nln.Policy{K: 2, Alpha: .3, FPR: .1, Space: "residual", Radius: 3, Metric: nln.MetricSquared, Normalise: nln.NormaliseRobust}},
		{[]string{"code", "image"}, nln.Policy{K: 1, FPR: .2, Space: "code", Rank: nln.ScoreLocal, Local: nln.Local{K: 7, Power: .25}}},
		{[]string{"code"}, nln.DefaultPolicy()},
	} {
		b := fitAs(t, asTwoSided, func(conf *nln.Config) { conf.Spaces, conf.Policy, conf.MaxK = c.keep, c.policy, 6 })
		path := filepath.Join(t.TempDir(), "b.nln")
		if err := b.Save(path, false); err != nil {
			t.Fatal(err)
		}
		m, _, err := ReadManifest(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := readScorer(path, b.Scorer.Model(), b.Index, m.Policy)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := b.Scorer.Config(), s.Config(); !reflect.DeepEqual(a.Policy, b.Policy) || !slices.Equal(a.Spaces, b.Spaces) || a.MaxK != b.MaxK || a.Batch != b.Batch {
			t.Errorf("configuration written %+v, read %+v", a, b)
		}
		written, read := b.Scorer.Kept(), s.Kept()
		if !reflect.DeepEqual(m.Pixels, written.Pixels) {
			t.Errorf("spaces %q: pixels %+v, want %+v", c.keep, m.Pixels, written.Pixels)
		}
		written.Pixels = nil // which the manifest has, and not the tensors
		if !reflect.DeepEqual(written, read) {
			t.Errorf("spaces %q: other tables or calibration read than written", c.keep)
		}
		want, err1 := b.Scorer.PartsAll(t.Context(), set)
		got, err2 := s.PartsAll(t.Context(), set)
		if err := errors.Join(err1, err2); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("spaces %q: other parts than before saving (%v)", c.keep, err)
		}
		// A model without networks cannot score like this.
		if _, err := readScorer(path, b.Model, b.Index, m.Policy); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), `no space "`) {
			t.Errorf("spaces %q: a plain model: %v", c.keep, err)
		}
	}
}

func TestTensorNames(t *testing.T) {
	for name, f := range map[string]nln.Feature{
		"reconstructions":       {Of: nln.OfReconstruction},
		"reconstructions.f_con": {Of: nln.OfReconstruction, Network: "f_con"},
		"reconstructions.a.b":   {Of: nln.OfReconstruction, Network: "a.b"},
		"latents":               {Of: nln.OfLatent},
	} {
		if got, ok := featureOf(name); !ok || got != f || tensorName(f) != name {
			t.Errorf("feature %v is called %q, and %q is of %v, %v", f, tensorName(f), name, got, ok)
		}
	}
	for _, name := range []string{"", "reconstructions.", "latents.q", "spam", ".q"} {
		if f, ok := featureOf(name); ok {
			t.Errorf("%q names %v", name, f)
		}
	}
}

// readKept returns what the files in a directory keep.
func readKept(dir string, spaces []string) (nln.Kept, error) {
	tables, err := os.ReadFile(filepath.Join(dir, tablesFile))
	if err != nil {
		return nln.Kept{}, err
	}
	return keptOf(tables, filepath.Join(dir, calibrationFile), spaces)
}

// readScorer returns the scorer of the bundle in a directory over m and idx.
func readScorer(dir string, m nln.Model, idx nln.Index, policy Policy) (*nln.Scorer, error) {
	kept, err := readKept(dir, policy.Spaces)
	if err != nil {
		return nil, err
	}
	return scorerOf(m, idx, kept, Manifest{Policy: policy}, nil)
}

// Tensors that are sound but not those of a bundle must be refused by name.
func TestStrangeTensors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, tensors ...safetensors.Tensor) {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := (&safetensors.File{Tensors: tensors}).Write(f); err != nil {
			t.Fatal(err)
		}
	}
	f64 := func(name string, shape ...int) safetensors.Tensor {
		n := 8
		for _, s := range shape {
			n *= s
		}
		return safetensors.Tensor{Name: name, DType: safetensors.F64, Shape: shape, Data: make([]byte, n)}
	}
	tables := []safetensors.Tensor{{Name: "reconstructions", DType: safetensors.U8, Shape: []int{2, 3}, Data: make([]byte, 6)}}
	ones := f64("spacing", 2, 3)
	for i := range 6 {
		copy(ones.Data[8*i:], "\x00\x00\x00\x00\x00\x00\xf0\x3f") // 1
	}
	calib := []safetensors.Tensor{f64("recon", 2), f64("distance", 2, 3), ones, f64("error.image", 2, 3), f64("own.image", 2),
		{Name: "ids", DType: safetensors.I64, Shape: []int{2, 3}, Data: make([]byte, 48)},
		{Name: "neighbor_distance", DType: safetensors.F32, Shape: []int{2, 3}, Data: make([]byte, 24)}}
	read := func() error {
		_, err := readKept(dir, []string{"image"})
		return err
	}
	write(tablesFile, tables...)
	write(calibrationFile, calib...)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		tensor safetensors.Tensor
		want   string
	}{
		"unknown": {safetensors.Tensor{Name: "spam", DType: safetensors.U8, Shape: []int{1, 1}, Data: []byte{0}}, `unknown tensor "spam"`},
		"cube":    {safetensors.Tensor{Name: "latents", DType: safetensors.U8, Shape: []int{1, 1, 1}, Data: []byte{0}}, "shape [1 1 1]"},
		"type":    {f64("latents", 1, 1), "type F64"},
		"spacing": {f64("spacing", 1, 1), `unknown tensor "spacing"`},
	} {
		write(tablesFile, append(slices.Clone(tables), c.tensor)...)
		if err := read(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tablesFile) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	write(tablesFile, tables...)
	for i := range calib {
		missing := slices.Delete(slices.Clone(calib), i, i+1)
		write(calibrationFile, missing...)
		if err := read(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), calibrationFile) || !strings.Contains(err.Error(), calib[i].Name) {
			t.Errorf("without %s: %v", calib[i].Name, err)
		}
		if i < 5 {
			write(calibrationFile, append(missing, f64(calib[i].Name, 1))...)
			if err := read(); !errors.Is(err, ErrDamaged) {
				t.Errorf("short %s: %v", calib[i].Name, err)
			}
		}
	}
}

// plain is a model of images of three pixels, the first of which is the latent.
type plain struct{}

func (plain) Shape() dataset.Shape { return dataset.Shape{C: 1, H: 1, W: 3} }
func (plain) LatentDim() int       { return 1 }

func (plain) Encode(_ context.Context, x dataset.Images, z []float32) error {
	for i := range x.N {
		z[i] = x.At(i)[0]
	}
	return nil
}

func (plain) Decode(_ context.Context, z, xhat []float32) error {
	for i := range xhat {
		xhat[i] = z[i/3]
	}
	return nil
}

// Whatever the two files hold, they are refused or they score.
func FuzzKept(f *testing.F) {
	idx := nln.NewExact(1)
	train := dataset.Images{Shape: plain{}.Shape(), N: 3, Pix: []float32{.1, .2, .3, .4, .4, .4, .9, .8, .7}}
	set := &dataset.Set{Size: train.Shape, Scale: dataset.Scale255, Pix: []uint8{1, 2, 3, 40, 50, 60, 200, 210, 250}}
	for _, spaces := range [][]string{{"image"}, {"image", "latent"}} {
		own := nln.NewExact(1)
		s, err := nln.Fit(f.Context(), plain{}, own, set, set, nln.Config{Policy: nln.Policy{K: 2, FPR: .5}, Spaces: spaces})
		if err != nil {
			f.Fatal(err)
		}
		var tables, calib bytes.Buffer
		if err := errors.Join(tableTensors(s.Kept(), 3).Write(&tables), calibrationTensors(s.Kept().Calibration).Write(&calib)); err != nil {
			f.Fatal(err)
		}
		f.Add(tables.Bytes(), calib.Bytes())
		idx = own
	}
	f.Fuzz(func(t *testing.T, tables, calib []byte) {
		a, err1 := safetensors.Parse(tables)
		b, err2 := safetensors.Parse(calib)
		if err1 != nil || err2 != nil {
			return
		}
		var kept nln.Kept
		spaces := []string{"image", "latent"}
		if err := tablesOf(a, &kept); err != nil {
			return
		}
		var err error
		if kept.Calibration, err = calibrationOf(b, spaces); err != nil {
			return
		}
		s, err := nln.NewScorer(plain{}, idx, kept, nln.Config{Policy: nln.Policy{K: 1, FPR: .5}, Spaces: spaces})
		if err != nil {
			return
		}
		if _, err := s.Score(t.Context(), train, nil); err != nil {
			t.Errorf("what was read does not score: %v", err)
		}
	})
}
