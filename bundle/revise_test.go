package bundle

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// batchOf is how many images libtorch takes at a time in these tests. It sums in
// another order for another number, so that what is to be equal to the bit is
// indexed in whole batches.
const batchOf = 32

// A taught is a small bundle and the images that it was made of.
type taught struct {
	*Bundle
	model              *models.Autoencoder
	train, calib, more *dataset.Set
}

// teachable returns a bundle over 8 batches of images, and others to add.
func teachable(t testing.TB) *taught {
	t.Helper()
	set := images(t, 50)
	at := func(from, to int) *dataset.Set {
		var ids []int
		for i := from; i < to; i++ {
			ids = append(ids, i*7%set.Len()) // 7 is prime to their number: every image once
		}
		return set.Subset(ids)
	}
	f := &taught{train: at(0, 8*batchOf), more: at(8*batchOf, 11*batchOf), calib: at(11*batchOf, 14*batchOf)}
	cfg, err := models.Preset("paper", models.ArchAE, set.Size)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Shape, cfg.Steps, cfg.Batch, cfg.LR, cfg.Loss = set.Size, 5, 32, 1e-3, models.LossBCE
	if f.model, err = models.New(cfg, torch.CPU); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.model.Close() })
	if _, err = models.Train(t.Context(), f.model, f.train, models.Options{}); err != nil {
		t.Fatal(err)
	}
	f.Bundle = f.fitWith(t, f.train)
	return f
}

// fitWith makes a bundle of the model over images.
func (f *taught) fitWith(t testing.TB, train *dataset.Set) *Bundle {
	t.Helper()
	x, err := faissindex.New(f.model.LatentDim())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	cfg := nln.DefaultConfig()
	cfg.Batch, cfg.FPR = batchOf, .1
	s, err := nln.Fit(t.Context(), f.model, x, train, f.calib, cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &Bundle{Manifest: Manifest{Data: Data{Source: "synth", Scale: train.Scale}}, Model: f.model, Index: x, Scorer: s}
	if b.Held, err = s.Hold(t.Context(), f.calib); err != nil {
		t.Fatal(err)
	}
	b.Train = imagesOf(train)
	b.Extra = map[string]func(io.Writer) error{"notes.txt": func(w io.Writer) error { _, err := io.WriteString(w, "of the training\n"); return err }}
	return b
}

func imagesOf(set *dataset.Set) []Image {
	var all []Image
	for i := range set.Len() {
		all = append(all, Image{set.ImageName(i), set.Classes[set.Labels[i]]})
	}
	return all
}

// revise changes the bundle at path: it removes ids and adds images.
func revise(t testing.TB, path string, remove []int64, add *dataset.Set, keep int) error {
	t.Helper()
	unlock, err := atomicfile.Lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	b, err := Open(path, torch.CPU)
	if err != nil {
		return err
	}
	defer b.Close()
	c := nln.Change{Remove: remove}
	r := Revision{Search: b.Manifest.Index, Edit: Edit{Time: time.Unix(1e9, 0).UTC(), Program: "test", Removed: len(remove)}}
	for id, im := range b.Train {
		if !slices.Contains(remove, int64(id)) {
			r.Train = append(r.Train, im)
		}
	}
	if add != nil {
		c.Add, r.Edit.Added = add, add.Len()
		r.Train = append(r.Train, imagesOf(add)...)
	}
	if c.Held, err = b.ReadHeld(path); err != nil {
		return err
	}
	if r.Index, err = faissindex.New(b.Index.Dim()); err != nil {
		return err
	}
	defer r.Index.Close()
	if r.Scorer, err = b.Scorer.Change(t.Context(), r.Index, c); err != nil {
		return err
	}
	return b.Revise(path, r, keep)
}

func ids(from, to int) []int64 {
	var all []int64
	for i := from; i < to; i++ {
		all = append(all, int64(i))
	}
	return all
}

func manifestOf(t testing.TB, path string) (Manifest, string) {
	t.Helper()
	m, digest, err := ReadManifest(path)
	if err != nil {
		t.Fatal(err)
	}
	return m, digest
}

// What is kept of the calibration images comes back, and comparing them anew by it
// gives their parts, to the bit.
func TestHeldSurvivesSaving(t *testing.T) {
	for _, c := range []struct {
		keep []string
		want []string
	}{{nil, []string{"images.q", "images", "reconstructions.f_con"}}, {[]string{"eq8"}, nil}} {
		b := fitAs(t, asTwoSided, func(conf *nln.Config) { conf.Spaces = c.keep })
		set := images(t, 40)
		_, out := dataset.Split(set.Len(), set.Labels, 0.3, 1)
		held, err := b.Scorer.Hold(t.Context(), set.Subset(out))
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if err := heldTensors(held).Write(&file); err != nil {
			t.Fatal(err)
		}
		read, err := heldOf(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, table := range read.Tables {
			names = append(names, heldName(table.Feature))
		}
		slices.Sort(names)
		if slices.Sort(c.want); !slices.Equal(names, c.want) {
			t.Errorf("tables %q, want %q", names, c.want)
		}
		parts, err := b.Scorer.Compare(t.Context(), read)
		if err != nil || !reflect.DeepEqual(parts, b.Scorer.CalibrationParts()) {
			t.Errorf("spaces %q: other parts of the calibration images (%v)", c.keep, err)
		}
	}
}

// FuzzHeld: whatever a file holds, it is refused or can be compared by.
func FuzzHeld(f *testing.F) {
	own := nln.NewExact(1)
	set := &dataset.Set{Size: plain{}.Shape(), Scale: dataset.Scale255, Pix: []uint8{1, 2, 3, 40, 50, 60, 200, 210, 250}}
	s, err := nln.Fit(f.Context(), plain{}, own, set, set, nln.Config{Policy: nln.Policy{K: 2, FPR: .5}})
	if err != nil {
		f.Fatal(err)
	}
	held, err := s.Hold(f.Context(), set)
	if err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	if err := heldTensors(held).Write(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add(bytes.Replace(file.Bytes(), []byte("digests"), []byte("reconst"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := heldOf(data)
		if err != nil {
			return
		}
		if p, err := s.Compare(t.Context(), h); err == nil && p.Check() != nil {
			t.Errorf("parts that cannot be: %v", p.Check())
		}
	})
}

// A bundle to which images are added has the files of one that was fitted with all
// of them, to the byte, and without them again those of the first.
func TestReviseIsFitting(t *testing.T) {
	f := teachable(t)
	dir := t.TempDir()
	path, whole := filepath.Join(dir, "b.nln"), filepath.Join(dir, "whole.nln")
	if err := f.Save(path, false); err != nil {
		t.Fatal(err)
	}
	both := f.train.Subset(nil)
	for _, s := range []*dataset.Set{f.train, f.more} {
		both.Pix, both.Names, both.Labels = append(both.Pix, s.Pix...), append(both.Names, s.Names...), append(both.Labels, s.Labels...)
	}
	if err := f.fitWith(t, both).Save(whole, false); err != nil {
		t.Fatal(err)
	}
	first, digest := manifestOf(t, path)
	want, _ := manifestOf(t, whole)
	if err := revise(t, path, nil, f.more, 2); err != nil {
		t.Fatal(err)
	}
	grown, second := manifestOf(t, path)
	if !maps.Equal(grown.Files, want.Files) {
		t.Errorf("files\n%v\nwant those of a whole fit\n%v", grown.Files, want.Files)
	}
	if second == digest || grown.Data.Indexed != both.Len() || len(grown.Edits) != 1 || grown.Edits[0].Previous != digest || grown.Edits[0].Added != f.more.Len() {
		t.Errorf("manifest %+v", grown)
	}
	if !reflect.DeepEqual(grown.Policy, want.Policy) {
		t.Errorf("policy %+v, want %+v", grown.Policy, want.Policy)
	}
	a, b := open1(t, path), open1(t, whole)
	set := images(t, 5)
	x, err1 := a.Scorer.PartsAll(t.Context(), set)
	y, err2 := b.Scorer.PartsAll(t.Context(), set)
	if err := errors.Join(err1, err2); err != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("other scores than after a whole fit: %v", err)
	}
	if err := revise(t, path, ids(f.train.Len(), both.Len()), nil, 2); err != nil {
		t.Fatal(err)
	}
	again, third := manifestOf(t, path)
	if !maps.Equal(again.Files, first.Files) || third == digest || len(again.Edits) != 2 {
		t.Errorf("files after removing what was added\n%v\nwant\n%v", again.Files, first.Files)
	}
	// Back, and back again: each digest as it was. There is no third version.
	for _, want := range []string{second, digest} {
		if got, err := Rollback(path, ""); err != nil || got != want {
			t.Fatalf("rolled back to %.8s (%v), want %.8s", got, err, want)
		}
		if _, now := manifestOf(t, path); now != want {
			t.Fatalf("bundle %.8s after rolling back to %.8s", now, want)
		}
		open1(t, path)
	}
	if _, err := Rollback(path, ""); !errors.Is(err, ErrNoVersion) {
		t.Errorf("rolled back further: %v", err)
	}
	if _, err := Rollback(path, "00"); !errors.Is(err, ErrNoVersion) {
		t.Errorf("rolled back to nowhere: %v", err)
	}
	if got, err := Rollback(path, third[:9]); err != nil || got != third {
		t.Errorf("forward to %.8s: %.8s, %v", third, got, err)
	}
	// Older versions go.
	for i := range 3 {
		if err := revise(t, path, ids(0, 1), nil, 1); err != nil {
			t.Fatal(i, err)
		}
	}
	if v, err := Versions(path); err != nil || len(v) != 1 || v[0].Manifest.Data.Indexed != f.train.Len()-2 {
		t.Errorf("%d versions are kept, want 1: %v", len(v), err)
	}
	if err := revise(t, path, ids(0, 1), nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + versionsEnding); err == nil {
		t.Error("versions are kept, want none")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestReviseRefuses(t *testing.T) {
	f := teachable(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "b.nln")
	if err := f.Save(path, false); err != nil {
		t.Fatal(err)
	}
	_, digest := manifestOf(t, path)
	unlock, err := atomicfile.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	err1 := SetCut(path, &Cut{FPR: .2})
	_, err2 := Rollback(path, "")
	for i, err := range []error{err1, err2, revise(t, path, ids(0, 1), nil, 1), f.Save(path, true)} {
		if !errors.Is(err, atomicfile.ErrLocked) {
			t.Errorf("writer %d of a locked bundle: %v", i, err)
		}
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(path, "mine.txt")
	os.WriteFile(mine, nil, 0o644)
	if err := revise(t, path, ids(0, 1), nil, 1); err == nil || !strings.Contains(err.Error(), "mine.txt") {
		t.Errorf("bundle with a file of the user's: %v", err)
	}
	os.Remove(mine)
	b := open1(t, path)
	if err := SetCut(path, &Cut{FPR: .2}); err != nil {
		t.Fatal(err)
	}
	if err := b.Revise(path, Revision{Scorer: b.Scorer, Index: b.Index, Search: b.Manifest.Index, Train: b.Train}, 1); err == nil || !strings.Contains(err.Error(), "not the bundle any more") {
		t.Errorf("bundle that was changed since it was opened: %v", err)
	}
	if err := SetCut(path, nil); err != nil {
		t.Fatal(err)
	}
	if _, now := manifestOf(t, path); now != digest {
		t.Errorf("digest %.8s after a reset, want %.8s", now, digest)
	}
	// What was left of a manifest when its writer was killed is in nobody's way.
	left := filepath.Join(path, "."+manifestFile+".123.tmp")
	os.WriteFile(left, nil, 0o644)
	if err := revise(t, path, ids(0, 1), nil, 1); err != nil {
		t.Errorf("bundle with the rest of a manifest: %v", err)
	}
	os.WriteFile(left, nil, 0o644)
	if err := SetCut(path, &Cut{FPR: .3}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("the rest of a manifest is still there")
	}
	// A bundle of an earlier version.
	f.Held = nil
	if err := f.Save(path, true); err != nil {
		t.Fatal(err)
	}
	if err := revise(t, path, ids(0, 1), nil, 1); !errors.Is(err, ErrNotHeld) {
		t.Errorf("bundle that keeps nothing of its calibration images: %v", err)
	}
}
