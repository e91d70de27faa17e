package dataset

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeIDX writes n images and their labels, all the label of the first image.
func writeIDX(t testing.TB, dir, prefix string, n int, label int, zip bool) {
	t.Helper()
	var images, labels bytes.Buffer
	if err := WriteIDX(&images, ramp(n*6), Shape{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if err := WriteIDXLabels(&labels, slices.Repeat([]int{label}, n)); err != nil {
		t.Fatal(err)
	}
	a, b, end := images.Bytes(), labels.Bytes(), ""
	if zip {
		a, b, end = gzipped(t, a), gzipped(t, b), ".gz"
	}
	writeFile(t, filepath.Join(dir, prefix+"-images-idx3-ubyte"+end), a)
	writeFile(t, filepath.Join(dir, prefix+"-labels-idx1-ubyte"+end), b)
}

func TestOpenMNIST(t *testing.T) {
	dir := t.TempDir()
	writeIDX(t, dir, "train", 4, 7, true)
	writeIDX(t, dir, "t10k", 3, 8, false)
	for spec, kind := range map[string]string{"mnist:" + dir: "mnist", "fashion-mnist:" + dir: "fashion-mnist", dir: "mnist"} {
		sp, err := Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		if sp.Kind != kind || sp.Train.Len() != 4 || sp.Test.Len() != 3 || sp.Train.Labels[3] != 7 || sp.Test.Labels[0] != 8 {
			t.Errorf("%s: kind %s, %d and %d images", spec, sp.Kind, sp.Train.Len(), sp.Test.Len())
		}
		if want := kind + "/test/2"; sp.Test.ImageName(2) != want {
			t.Errorf("%s: image 2 is named %s, want %s", spec, sp.Test.ImageName(2), want)
		}
		if len(sp.Notes()) != 0 || sp.Single() {
			t.Errorf("%s: notes %q, single %v", spec, sp.Notes(), sp.Single())
		}
	}
	sp, err := Open("fashion-mnist:" + dir)
	if err != nil || sp.Train.Classes[9] != "Ankle boot" {
		t.Errorf("class 9 of Fashion-MNIST: %v, %v", sp, err)
	}
}

func TestOpenMNISTByPathNamesFashion(t *testing.T) {
	for _, dir := range []string{"Fashion-MNIST", "fashion/raw"} {
		dir = filepath.Join(t.TempDir(), dir)
		writeIDX(t, dir, "train", 1, 0, false)
		sp, err := Open(dir)
		if err != nil || sp.Kind != "fashion-mnist" {
			t.Errorf("%s: %+v, %v", dir, sp, err)
		}
	}
}

func TestOpenMNISTParts(t *testing.T) {
	dir := t.TempDir()
	writeIDX(t, dir, "t10k", 2, 1, true)
	sp, err := Open(dir)
	if err != nil || sp.Train != nil || sp.Test.Len() != 2 || len(sp.Notes()) != 1 {
		t.Errorf("test images alone: %+v, %v", sp, err)
	}
	if err := os.Remove(filepath.Join(dir, "t10k-labels-idx1-ubyte.gz")); err != nil {
		t.Fatal(err)
	}
	sp, err = Open(dir)
	if err != nil || sp.Test.Labels != nil || len(sp.Notes()) != 2 {
		t.Errorf("without labels: %+v, %v", sp, err)
	}
	// A dot instead of the dash, as some copies have it.
	if err := os.Rename(filepath.Join(dir, "t10k-images-idx3-ubyte.gz"), filepath.Join(dir, "t10k-images.idx3-ubyte.gz")); err != nil {
		t.Fatal(err)
	}
	if sp, err = Open(dir); err != nil || sp.Kind != "mnist" {
		t.Errorf("with a dot: %+v, %v", sp, err)
	}
}

func TestOpenMNISTDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		says  string
	}{
		"labels of another count": {func(t *testing.T, dir string) {
			var b bytes.Buffer
			if err := WriteIDXLabels(&b, []int{1, 2, 3}); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "train-labels-idx1-ubyte"), b.Bytes())
		}, "3 labels for the 4 images"},
		"label 10":      {func(t *testing.T, dir string) { writeIDX(t, dir, "train", 4, 10, false) }, "label 10 of image 0"},
		"no images":     {func(t *testing.T, dir string) { writeIDX(t, dir, "train", 0, 0, false) }, "holds no images"},
		"magic swapped": {func(t *testing.T, dir string) { swap(t, dir) }, "magic"},
		"another size": {func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "t10k-images-idx3-ubyte"), idxOf(t, Shape{1, 3, 3}))
		}, "3x3x1"},
		"folder, no set": {func(t *testing.T, dir string) { clearFolder(t, dir) }, "neither train-images"},
	} {
		dir := t.TempDir()
		writeIDX(t, dir, "train", 4, 1, false)
		c.spoil(t, dir)
		if _, err := Open("mnist:" + dir); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.says)
		}
	}
}

func idxOf(t *testing.T, size Shape) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteIDX(&b, make([]uint8, size.Len()), size); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func swap(t *testing.T, dir string) {
	t.Helper()
	a, b := filepath.Join(dir, "train-images-idx3-ubyte"), filepath.Join(dir, "train-labels-idx1-ubyte")
	data, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, a, data)
}

func clearFolder(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenUnknown(t *testing.T) {
	empty, text := t.TempDir(), filepath.Join(t.TempDir(), "a.txt")
	writeFile(t, text, []byte("hello"))
	for spec, says := range map[string]string{
		"minst:/x":         "did you mean mnist:",
		"MNIST:/x":         "did you mean mnist:",
		"cifar10:/x":       "did you mean cifar-10:",
		"fashionmnist:/x":  "did you mean fashion-mnist:",
		"https://host/x":   `unknown kind "https"; known are mnist:DIR, fashion-mnist:DIR, cifar-10:DIR|FILE, mvtec:DIR/category, folder:DIR`,
		"mnist:":           "no location",
		"/no/such/place":   "neither a file or folder",
		"mnist:/no/such":   "no such file",
		"cifar-10:/no/suc": "no such file",
		"folder:/no/such":  "/no/such",
		"mvtec:/no/such":   "no folder train/good",
		empty:              "holds no image files",
		text:               "cannot tell",
		"":                 "neither a file",
	} {
		_, err := Open(spec)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one with %q", spec, err, says)
		}
	}
	for _, spec := range []string{"mnist:/no/such", "cifar-10:/no/such"} {
		if _, err := Open(spec); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error %v, want fs.ErrNotExist", spec, err)
		}
	}
}

// A path with a colon in it is a path if it is there.
func TestOpenPathWithColon(t *testing.T) {
	t.Chdir(t.TempDir())
	writeFile(t, filepath.Join("odd:name", "a.png"), encodePNG(t, greyRamp(3, 2)))
	sp, err := Open("odd:name")
	if err != nil || sp.Kind != "folder" || sp.Train.Len() != 1 {
		t.Errorf("%+v, %v", sp, err)
	}
}

func TestKindsAreOpenable(t *testing.T) {
	for _, usage := range Kinds() {
		name, location, ok := strings.Cut(usage, ":")
		if !ok || location == "" {
			t.Errorf("usage %q", usage)
		}
		if k, _, err := resolve(name + ":x"); err != nil || k.name != name {
			t.Errorf("%s resolves to %s, %v", name, k.name, err)
		}
	}
}
