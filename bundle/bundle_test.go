package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/dataset/synth"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

func images(t testing.TB, perClass int) *dataset.Set {
	t.Helper()
	o := synth.DefaultOptions()
	o.TrainPerClass, o.TestPerClass = perClass, 0
	sp, err := synth.Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	return sp.Train
}

// fit trains a little on some images and makes a bundle of it in memory.
func fit(t testing.TB, cache nln.Cache) *Bundle {
	t.Helper()
	return fitAs(t, func(m *models.Autoencoder) nln.Model { return m }, func(c *nln.Config) { c.Cache = cache })
}

// fitAs scores with what wrap makes of the model.
func fitAs(t testing.TB, wrap func(*models.Autoencoder) nln.Model, change func(*nln.Config)) *Bundle {
	t.Helper()
	set := images(t, 40)
	keep, out := dataset.Split(set.Len(), set.Labels, 0.3, 1)
	train, calib := set.Subset(keep), set.Subset(out)
	cfg, err := models.Preset("paper", models.ArchAE, set.Size)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Shape, cfg.Steps, cfg.Batch, cfg.LR, cfg.Loss = set.Size, 25, 32, 1e-3, models.LossBCE
	m, err := models.New(cfg, torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	res, err := models.Train(t.Context(), m, train, models.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x, err := faissindex.New(m.LatentDim())
	if err != nil {
		t.Fatal(err)
	}
	conf := nln.DefaultConfig()
	change(&conf)
	s, err := nln.Fit(t.Context(), wrap(m), x, train, calib, conf)
	if err != nil {
		t.Fatal(err)
	}
	b := &Bundle{Manifest: Manifest{Training: res, Data: Data{Source: "synth", Scale: train.Scale}}, Model: m, Index: x, Scorer: s}
	for i := range train.Len() {
		b.Train = append(b.Train, Image{train.ImageName(i), train.Classes[train.Labels[i]]})
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func open1(t *testing.T, path string) *Bundle {
	t.Helper()
	b, err := Open(path, torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// A bundle that is read must score as the one that was written, to the bit.
func TestSaveOpenScoresAlike(t *testing.T) {
	set := images(t, 5)
	for _, cache := range []nln.Cache{nln.CacheUint8, nln.CacheFloat32} {
		b := fit(t, cache)
		path := filepath.Join(t.TempDir(), "b.nln")
		if err := b.Save(path, false); err != nil {
			t.Fatal(err)
		}
		c := open1(t, path)
		want, err1 := b.Scorer.PartsAll(t.Context(), set)
		got, err2 := c.Scorer.PartsAll(t.Context(), set)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		for i := range want.Recon {
			if a, b := b.Scorer.Calibration().Score(want, i), c.Scorer.Calibration().Score(got, i); a.Score != b.Score || a.P != b.P || a.Novel != b.Novel {
				t.Fatalf("%s: image %d: %+v read, %+v written", cache, i, b, a)
			}
		}
		if c.Train[7] != b.Train[7] || c.Manifest.Data.Indexed != b.Index.Len() || c.Manifest.Parameters != b.Model.Parameters() || len(c.Digest) != 64 {
			t.Errorf("manifest read: %+v", c.Manifest)
		}
		m, digest, err := ReadManifest(path)
		if err != nil || digest != c.Digest || m.Model != c.Manifest.Model {
			t.Errorf("ReadManifest = %v, %s, %v", m, digest, err)
		}
	}
}

// The tables stay in their file until Close, after which nothing scores; a bundle
// that is replaced meanwhile goes on as it was.
func TestTablesAreMapped(t *testing.T) {
	set := images(t, 2)
	for _, cache := range []nln.Cache{nln.CacheUint8, nln.CacheFloat32} {
		b := fit(t, cache)
		path := filepath.Join(t.TempDir(), "b.nln")
		if err := b.Save(path, false); err != nil {
			t.Fatal(err)
		}
		c := open1(t, path)
		table := c.Scorer.Recon()
		first := uintptr(unsafe.Pointer(unsafe.SliceData(table.U8)))
		if cache == nln.CacheFloat32 {
			first = uintptr(unsafe.Pointer(unsafe.SliceData(table.F32)))
		}
		begin := uintptr(unsafe.Pointer(unsafe.SliceData(c.mapped.Data)))
		if first < begin || first >= begin+uintptr(len(c.mapped.Data)) {
			t.Errorf("%s: the table is not in its file", cache)
		}
		want, err := c.Scorer.PartsAll(t.Context(), set)
		if err != nil {
			t.Fatal(err)
		}
		if err := fit(t, cache).Save(path, true); err != nil {
			t.Fatal(err)
		}
		got, err := c.Scorer.PartsAll(t.Context(), set)
		if err != nil || !slices.Equal(got.Recon, want.Recon) || !slices.Equal(got.Errors(3), want.Errors(3)) {
			t.Errorf("%s: other scores after the bundle was replaced: %v", cache, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Scorer.PartsAll(t.Context(), set); err == nil {
			t.Errorf("%s: scores after Close", cache)
		}
		if table.Len() != 0 || c.mapped.Data != nil {
			t.Errorf("%s: %d rows after Close", cache, table.Len())
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: second Close: %v", cache, err)
		}
	}
}

// A bundle of a time before the terms could be scaled in other ways scores as
// one by min-max, and one that names no way at all is refused.
func TestOpenWithoutNormalise(t *testing.T) {
	b := fit(t, nln.CacheUint8)
	if b.Scorer, _ = b.Scorer.With(nln.Policy{K: 3, Alpha: .8, FPR: .1, Normalise: nln.NormaliseZScore}); b.Scorer == nil {
		t.Fatal("no scorer by z-score")
	}
	path := filepath.Join(t.TempDir(), "b.nln")
	if err := b.Save(path, false); err != nil {
		t.Fatal(err)
	}
	if c := open1(t, path); c.Scorer.Config().Normalise != nln.NormaliseZScore || c.Manifest.Policy.Normalise != nln.NormaliseZScore {
		t.Errorf("%+v read, want z-scores", c.Scorer.Config().Policy)
	}
	manifest := filepath.Join(path, manifestFile)
	whole, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	field := []byte(`    "normalise": "zscore",` + "\n")
	if !bytes.Contains(whole, field) {
		t.Fatalf("the manifest does not hold %q:\n%s", field, whole)
	}
	if err := os.WriteFile(manifest, bytes.Replace(whole, field, nil, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	c := open1(t, path)
	if got := c.Scorer.Config().Normalise; got != nln.NormaliseMinMax {
		t.Errorf("without the field: normalise %q, want %q", got, nln.NormaliseMinMax)
	}
	if err := os.WriteFile(manifest, bytes.Replace(whole, []byte(`"zscore"`), []byte(`"rank"`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, torch.CPU); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), `normalise is "rank"`) {
		t.Errorf("unknown way: %v", err)
	}
}

// scoreTol bounds the relative change of a score with the batch around an
// image: libtorch picks other kernels for other sizes, which sum in another
// order; search, error and scaling add nothing to that.
const scoreTol = 1e-4

func TestScoreDoesNotDependOnTheBatch(t *testing.T) {
	b := fit(t, nln.CacheUint8)
	set := images(t, 31)
	ids := make([]int, set.Len())
	for i := range ids {
		ids[i] = i
	}
	x := set.Gather(ids, make([]float32, len(set.Pix)))
	whole, err := b.Scorer.Score(t.Context(), x, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 7, 64} {
		for lo := 0; lo < x.N; lo += 41 {
			hi := min(lo+size, x.N)
			part, err := b.Scorer.Score(t.Context(), x.Slice(lo, hi), nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range part {
				w := whole[lo+i]
				if math.Abs(s.Score-w.Score) > scoreTol*(1+math.Abs(w.Score)) {
					t.Errorf("image %d: score %v in a batch of %d, %v in one of %d", lo+i, s.Score, size, w.Score, x.N)
				}
			}
		}
	}
}

// An indexed image is its own nearest neighbour, at distance 0, and compared
// with its own reconstruction.
func TestIndexedImageFindsItself(t *testing.T) {
	b := fit(t, nln.CacheFloat32)
	set := images(t, 40)
	byName := map[string]int{}
	for i := range set.Len() {
		byName[set.ImageName(i)] = i
	}
	for id := 0; id < len(b.Train); id += 29 {
		x := set.Gather([]int{byName[b.Train[id].Name]}, make([]float32, set.Size.Len()))
		p, err := b.Scorer.Parts(t.Context(), x, nln.Parts{})
		if err != nil {
			t.Fatal(err)
		}
		if p.IDs[0] != int64(id) || p.D(0, 1) > 1e-4 || math.Abs(p.E(0, 1)-p.Recon[0]) > 1e-6 {
			t.Errorf("image %d: neighbour %d at %v, error %v, reconstruction error %v", id, p.IDs[0], p.D(0, 1), p.E(0, 1), p.Recon[0])
		}
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	b := fit(t, nln.CacheUint8)
	path := filepath.Join(t.TempDir(), "b.nln")
	if err := b.Save(path, false); err != nil {
		t.Fatal(err)
	}
	before := torch.LiveHandles()
	files, err := os.ReadDir(path)
	if err != nil || len(files) != 6 {
		t.Fatalf("bundle of %d files, %v", len(files), err)
	}
	for _, f := range files {
		name := filepath.Join(path, f.Name())
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 1
		for what, damaged := range map[string][]byte{"empty": {}, "cut off": whole[:len(whole)-1], "longer": append(bytes.Clone(whole), 'x'), "altered": flipped} {
			if f.Name() == manifestFile && (what == "cut off" || what == "altered") {
				continue // the last byte is a line end; a changed letter may still be a manifest
			}
			os.WriteFile(name, damaged, 0o644)
			if _, err := Open(path, torch.CPU); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), f.Name()) {
				t.Errorf("%s %s: %v", f.Name(), what, err)
			}
		}
		os.Remove(name)
		if _, err := Open(path, torch.CPU); err == nil || !strings.Contains(err.Error(), f.Name()) {
			t.Errorf("%s missing: %v", f.Name(), err)
		}
		os.WriteFile(name, whole, 0o644)
	}
	// Files that are sound but of another bundle.
	other := fit(t, nln.CacheUint8)
	second := filepath.Join(t.TempDir(), "c.nln")
	other.Train = other.Train[:len(other.Train)-1]
	if err := other.Save(second, false); err == nil {
		t.Error("saved with a name too few")
	}
	text, _ := os.ReadFile(filepath.Join(path, trainFile))
	lines := bytes.SplitAfter(text, []byte("\n"))
	os.WriteFile(filepath.Join(path, trainFile), bytes.Join(lines[:len(lines)-3], nil), 0o644)
	var m Manifest
	raw, _ := os.ReadFile(filepath.Join(path, manifestFile))
	json.Unmarshal(raw, &m)
	m.Files[trainFile], _ = describe(filepath.Join(path, trainFile))
	raw, _ = json.Marshal(m)
	os.WriteFile(filepath.Join(path, manifestFile), raw, 0o644)
	if _, err := Open(path, torch.CPU); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "belong together") {
		t.Errorf("too few names: %v", err)
	}
	other.Close()
	if n := torch.LiveHandles(); n != before {
		t.Errorf("%d objects of the core live, %d before", n, before)
	}
}

func TestSaveNeverReplacesByAccident(t *testing.T) {
	b := fit(t, nln.CacheUint8)
	dir := t.TempDir()
	path := filepath.Join(dir, "b.nln")
	if err := b.Save(path, false); err != nil {
		t.Fatal(err)
	}
	first := open1(t, path).Digest
	if err := b.Save(path, false); !errors.Is(err, atomicfile.ErrExists) {
		t.Errorf("second save: %v", err)
	}
	b.Manifest.Data.Source = "other"
	if err := b.Save(path, true); err != nil {
		t.Fatal(err)
	}
	if open1(t, path).Digest == first {
		t.Error("the bundle was not replaced")
	}
	mine := filepath.Join(dir, "mine")
	os.Mkdir(mine, 0o755)
	os.WriteFile(filepath.Join(mine, "thesis.txt"), []byte("x"), 0o644)
	if err := b.Save(mine, true); !errors.Is(err, ErrNotABundle) {
		t.Errorf("save over a directory of the user's: %v", err)
	}
	if _, err := os.Stat(filepath.Join(mine, "thesis.txt")); err != nil {
		t.Error(err)
	}
	// A manifest makes no bundle, and what the user put into one is not ours.
	os.WriteFile(filepath.Join(mine, manifestFile), []byte(`{"name":"app","format":1}`), 0o644)
	if err := b.Save(mine, true); !errors.Is(err, ErrNotABundle) {
		t.Errorf("save over a directory with a manifest of another kind: %v", err)
	}
	os.WriteFile(filepath.Join(path, "notes.txt"), []byte("x"), 0o644)
	if err := b.Save(path, true); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("save over a bundle with a file of the user's: %v", err)
	}
	if err := b.Save(filepath.Join(dir, "no", "such", "b.nln"), false); err == nil {
		t.Error("save into a directory that is not there: no error")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestExtraFiles(t *testing.T) {
	b := fit(t, nln.CacheUint8)
	write := func(w io.Writer) error { _, err := io.WriteString(w, "step,loss\n"); return err }
	for _, bad := range []string{"", "..", "a/b", weightsFile, manifestFile, indexFile} {
		b.Extra = map[string]func(io.Writer) error{bad: write}
		if err := b.Save(filepath.Join(t.TempDir(), "b.nln"), false); err == nil {
			t.Errorf("extra file %q: no error", bad)
		}
	}
	path := filepath.Join(t.TempDir(), "b.nln")
	b.Extra = map[string]func(io.Writer) error{"training.csv": write}
	if err := b.Save(path, false); err != nil {
		t.Fatal(err)
	}
	open1(t, path)
	os.WriteFile(filepath.Join(path, "training.csv"), []byte("x"), 0o644)
	if _, err := Open(path, torch.CPU); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "training.csv") {
		t.Errorf("altered extra file: %v", err)
	}
}

// An approximate index is kept and read as such, and scores alike afterwards; a
// manifest that says another kind is refused.
func TestIndexKinds(t *testing.T) {
	set := images(t, 5)
	for _, kind := range []faissindex.Kind{faissindex.HNSW, faissindex.IVF} {
		b := fit(t, nln.CacheUint8)
		c, err := b.Index.Choose(t.Context(), kind, b.Index.Vectors(), b.Scorer.Config().MaxK)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "b.nln")
		if err := b.Save(path, false); err == nil || !strings.Contains(err.Error(), string(kind)) {
			t.Errorf("%s: saved with a manifest of an exact index: %v", kind, err)
		}
		b.Manifest.Index = Index(c)
		if err := b.Save(path, false); err != nil {
			t.Fatal(err)
		}
		o := open1(t, path)
		if o.Manifest.Index != Index(c) || o.Index.Kind() != kind {
			t.Errorf("%s: index of kind %q, manifest %+v, want %+v", kind, o.Index.Kind(), o.Manifest.Index, c)
		}
		want, err1 := b.Scorer.PartsAll(t.Context(), set)
		got, err2 := o.Scorer.PartsAll(t.Context(), set)
		if err := errors.Join(err1, err2); err != nil || !slices.Equal(want.IDs, got.IDs) || !slices.Equal(want.Dist, got.Dist) {
			t.Errorf("%s: neighbours differ after reading: %v", kind, err)
		}
		text, err := os.ReadFile(filepath.Join(path, manifestFile))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte(`"kind": "`+kind), []byte(`"kind": "exact`), 1)
		os.WriteFile(filepath.Join(path, manifestFile), text, 0o644)
		if _, err := Open(path, torch.CPU); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: said to be exact: %v", kind, err)
		}
	}
}
