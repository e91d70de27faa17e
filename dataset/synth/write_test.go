package synth

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

func mustOpen(t *testing.T, spec string) *dataset.Splits {
	t.Helper()
	sp, err := dataset.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

func sameSet(t *testing.T, got, want *dataset.Set) {
	t.Helper()
	if got.Size != want.Size || !bytes.Equal(got.Pix, want.Pix) || !slices.Equal(got.Labels, want.Labels) {
		t.Errorf("%s: read back other images or labels", got.Name)
	}
	for i := range want.Masks {
		if !bytes.Equal(got.Masks[i], want.Masks[i]) {
			t.Errorf("%s: read back another mask", got.ImageName(i))
		}
	}
}

func TestWriteIDXReadsBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "set")
	o := small()
	if err := WriteIDX(dir, o); err != nil {
		t.Fatal(err)
	}
	got, want := mustOpen(t, "mnist:"+dir), mustGenerate(t, o)
	sameSet(t, got.Train, want.Train)
	sameSet(t, got.Test, want.Test)
	if notes := got.Notes(); len(notes) != 0 {
		t.Errorf("notes %q", notes)
	}
}

func TestWriteMVTecReadsBack(t *testing.T) {
	for _, channels := range []int{1, 3} {
		dir := t.TempDir()
		o := DefaultInspection()
		o.Train, o.Good, o.Each, o.Size, o.Channels = 4, 2, 2, 24, channels
		if err := WriteMVTec(dir, o); err != nil {
			t.Fatal(err)
		}
		got, want := mustOpen(t, dir), mustInspect(t, o)
		if got.Kind != "mvtec" || !slices.Equal(got.Test.Classes, want.Test.Classes) || !slices.Equal(got.Test.Names, want.Test.Names) {
			t.Errorf("kind %s, classes %q, names %q", got.Kind, got.Test.Classes, got.Test.Names)
		}
		sameSet(t, got.Train, &dataset.Set{Size: want.Train.Size, Pix: want.Train.Pix, Labels: want.Train.Labels})
		sameSet(t, got.Test, want.Test)
	}
}

func TestWriteIDXRefusesColour(t *testing.T) {
	o := small()
	o.Channels = 3
	if err := WriteIDX(t.TempDir(), o); err == nil {
		t.Error("no error")
	}
}

// What is not ours stays as it is, and is named.
func TestWriteRefusesForeignFolders(t *testing.T) {
	o := small()
	o.TrainPerClass, o.TestPerClass = 1, 1
	put := func(t *testing.T, dir, name string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("mine"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(t *testing.T, dir, keep, say string) {
		t.Helper()
		err := WriteIDX(dir, o)
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("error %v, want one with %q", err, say)
		}
		if data, err := os.ReadFile(filepath.Join(dir, keep)); err != nil || string(data) != "mine" {
			t.Errorf("%s was touched: %q, %v", keep, data, err)
		}
	}
	t.Run("real set of the same names", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "train-images-idx3-ubyte.gz")
		refused(t, dir, "train-images-idx3-ubyte.gz", "is not empty")
	})
	t.Run("own set with a file beside it", func(t *testing.T) {
		dir := t.TempDir()
		if err := WriteIDX(dir, o); err != nil {
			t.Fatal(err)
		}
		put(t, dir, "notes/diary.txt")
		refused(t, dir, "notes/diary.txt", "diary.txt")
	})
	t.Run("other layout", func(t *testing.T) {
		dir := t.TempDir()
		m := InspectionOptions{Inliers: []int{1}, Train: 1, Size: 16, Channels: 1}
		if err := WriteMVTec(dir, m); err != nil {
			t.Fatal(err)
		}
		if err := WriteIDX(dir, o); err == nil || !strings.Contains(err.Error(), "mvtec") {
			t.Errorf("error %v, want one that names the layout", err)
		}
	})
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, "file")
		if err := WriteIDX(filepath.Join(dir, "file"), o); err == nil {
			t.Error("no error")
		}
	})
}

func TestWriteReplacesItsOwn(t *testing.T) {
	dir := t.TempDir()
	o := small()
	o.TrainPerClass, o.TestPerClass = 2, 1
	if err := WriteIDX(dir, o); err != nil {
		t.Fatal(err)
	}
	// As an interrupted run leaves it.
	if err := os.WriteFile(filepath.Join(dir, tempPrefix+"123"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	o.Seed++
	if err := WriteIDX(dir, o); err != nil {
		t.Fatal(err)
	}
	sameSet(t, mustOpen(t, dir).Train, mustGenerate(t, o).Train)
	// With no test images the old ones would stay: refused.
	o.TestPerClass = 0
	if err := WriteIDX(dir, o); err == nil || !strings.Contains(err.Error(), "t10k") {
		t.Errorf("error %v, want one that names the old test set", err)
	}
}
