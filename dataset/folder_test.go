package dataset

import (
	"bytes"
	"errors"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeGrey writes a grey PNG of 3x2 pixels that all have the value v.
func writeGrey(t testing.TB, name string, v uint8) {
	t.Helper()
	img := greyRamp(3, 2)
	for i := range img.Pix {
		img.Pix[i] = v
	}
	writeFile(t, name, encodePNG(t, img))
}

func TestFolderClasses(t *testing.T) {
	dir := t.TempDir()
	for name, v := range map[string]uint8{"dogs/b.png": 3, "cats/deep/er/z.PNG": 2, "cats/a.png": 1, "dogs/.hidden.png": 9, ".git/x.png": 9} {
		writeGrey(t, filepath.Join(dir, filepath.FromSlash(name)), v)
	}
	writeFile(t, filepath.Join(dir, "readme.txt"), []byte("x"))
	sp, err := Open("folder:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	s := sp.Train
	if !sp.Single() || sp.Test != s {
		t.Error("Train and Test are not the same set")
	}
	if want := []string{"cats/a.png", "cats/deep/er/z.PNG", "dogs/b.png"}; !slices.Equal(s.Names, want) {
		t.Errorf("names %q, want %q", s.Names, want)
	}
	if !slices.Equal(s.Classes, []string{"cats", "dogs"}) || !slices.Equal(s.Labels, []int{0, 0, 1}) {
		t.Errorf("classes %q, labels %v", s.Classes, s.Labels)
	}
	if s.Size != (Shape{1, 2, 3}) || s.Image(0)[0] != 1 || s.Image(1)[0] != 2 || s.Image(2)[0] != 3 || s.Scale != Scale255 {
		t.Errorf("size %v, pixels %v, scale %s", s.Size, s.Pix, s.Scale)
	}
	if notes := sp.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "readme.txt") {
		t.Errorf("notes %q, want one that names readme.txt", notes)
	}
}

func TestFolderWithoutClasses(t *testing.T) {
	dir := t.TempDir()
	writeGrey(t, filepath.Join(dir, "a", "b.png"), 1)
	writeGrey(t, filepath.Join(dir, "c.png"), 2)
	sp, err := Open(dir)
	if err != nil || sp.Kind != "folder" {
		t.Fatalf("%+v, %v", sp, err)
	}
	if sp.Train.Labels != nil || sp.Train.Classes != nil || sp.Train.Len() != 2 {
		t.Errorf("labels %v, classes %q, %d images", sp.Train.Labels, sp.Train.Classes, sp.Train.Len())
	}
}

func TestFolderTrainAndTest(t *testing.T) {
	dir := t.TempDir()
	for name, v := range map[string]uint8{"train/ok/1.png": 1, "train/ok/2.png": 2, "test/bad/3.png": 3, "test/ok/4.png": 4} {
		writeGrey(t, filepath.Join(dir, filepath.FromSlash(name)), v)
	}
	sp, err := Open("folder:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if sp.Single() || !slices.Equal(sp.Train.Classes, []string{"bad", "ok"}) || !slices.Equal(sp.Train.Labels, []int{1, 1}) || !slices.Equal(sp.Test.Labels, []int{0, 1}) {
		t.Errorf("single %v, classes %q, labels %v and %v", sp.Single(), sp.Train.Classes, sp.Train.Labels, sp.Test.Labels)
	}
}

func TestFolderMixesGreyAndColour(t *testing.T) {
	dir := t.TempDir()
	writeGrey(t, filepath.Join(dir, "a.png"), 50)
	writeFile(t, filepath.Join(dir, "b.png"), encodePNG(t, colourRamp(3, 2)))
	writeFile(t, filepath.Join(dir, "c.jpg"), encodeJPEG(t, greyRamp(3, 2)))
	sp, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Shape{3, 2, 3}); sp.Train.Size != want {
		t.Errorf("size %v, want %v", sp.Train.Size, want)
	}
	if want := bytes.Repeat([]byte{50}, 18); !bytes.Equal(sp.Train.Image(0), want) {
		t.Errorf("the grey image became %v", sp.Train.Image(0))
	}
}

func TestFolderOfSizes(t *testing.T) {
	dir := t.TempDir()
	writeGrey(t, filepath.Join(dir, "a.png"), 1)
	writeFile(t, filepath.Join(dir, "b.png"), encodePNG(t, greyRamp(4, 2)))
	_, err := Open(dir)
	var size *SizeError
	if !errors.As(err, &size) || size.Path != filepath.Join(dir, "b.png") {
		t.Fatalf("error %v, want a SizeError for b.png", err)
	}
	for _, s := range []string{"2x4x1", "want 2x3x1", "a.png"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

// The first file in order that is damaged is named, whichever goroutine met it.
func TestFolderDamaged(t *testing.T) {
	dir := t.TempDir()
	picture := encodePNG(t, greyRamp(3, 2))
	for _, c := range []string{"a", "b", "c", "d", "e", "f"} {
		data := picture
		if c >= "c" {
			data = picture[:len(picture)-25]
		}
		writeFile(t, filepath.Join(dir, c+".png"), data)
	}
	_, err := Open(dir)
	var format *FormatError
	if !errors.As(err, &format) || format.Path != filepath.Join(dir, "c.png") {
		t.Errorf("error %v, want a FormatError for c.png", err)
	}
}

func TestImageFilesFollowsLinksToFiles(t *testing.T) {
	dir := t.TempDir()
	writeGrey(t, filepath.Join(dir, "real", "a.png"), 1)
	for link, to := range map[string]string{"link.png": "real/a.png", "gone.png": "nowhere.png", "folder": "real"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	got, err := ImageFiles(dir)
	if want := []string{"link.png", "real/a.png"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.png"), filepath.Join(dir, "b.png")
	writeGrey(t, a, 1)
	writeGrey(t, b, 2)
	s, err := OpenFiles([]string{b, a, b})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if s.Len() != 3 || s.Image(0)[0] != 2 || s.Image(1)[0] != 1 || s.ImageName(1) != a || s.Labels != nil {
		t.Errorf("%+v", s)
	}
	if _, err := OpenFiles(nil); err == nil {
		t.Error("no files: no error")
	}
	sp, err := Open(a)
	if err != nil || sp.Kind != "files" || sp.Test.Len() != 1 {
		t.Errorf("one file: %+v, %v", sp, err)
	}
}

func TestInParallel(t *testing.T) {
	for n := range 20 {
		done := make([]bool, n)
		if err := inParallel(n%4, n, func(i int) error { done[i] = true; return nil }); err != nil || slices.Contains(done, false) {
			t.Errorf("%d: %v, %v", n, done, err)
		}
		first := errors.New("first")
		err := inParallel(n%4, n, func(i int) error {
			switch {
			case i == n/2:
				return first
			case i > n/2:
				return errors.New("later")
			}
			return nil
		})
		if n > 0 && err != first {
			t.Errorf("%d: error %v, want the first", n, err)
		}
	}
}

// writeCategory writes a small category in the layout of MVTec AD.
func writeCategory(t *testing.T, dir string) {
	t.Helper()
	for name, v := range map[string]uint8{
		"train/good/001.png": 1, "train/good/000.png": 2,
		"test/good/000.png": 3, "test/crack/000.png": 4, "test/crack/001.png": 5, "test/ant/000.png": 6,
	} {
		writeGrey(t, filepath.Join(dir, filepath.FromSlash(name)), v)
	}
	for name, at := range map[string]int{"crack/000": 1, "crack/001": 5, "ant/000": 3} {
		mask := image.NewGray(image.Rect(0, 0, 3, 2))
		mask.Pix[at] = 255
		writeFile(t, filepath.Join(dir, "ground_truth", filepath.FromSlash(name)+"_mask.png"), encodePNG(t, mask))
	}
}

func TestOpenMVTec(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "bolt")
	writeCategory(t, dir)
	for _, spec := range []string{"mvtec:" + dir, dir, dir + "/"} {
		sp, err := Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		if sp.Kind != "mvtec" || sp.Train.Name != "mvtec/bolt/train" || len(sp.Notes()) != 0 {
			t.Errorf("kind %s, name %s, notes %q", sp.Kind, sp.Train.Name, sp.Notes())
		}
		if want := []string{"good", "ant", "crack"}; !slices.Equal(sp.Test.Classes, want) || !slices.Equal(sp.Train.Classes, want) {
			t.Errorf("classes %q and %q, want %q", sp.Train.Classes, sp.Test.Classes, want)
		}
		if !slices.Equal(sp.Train.Names, []string{"train/good/000.png", "train/good/001.png"}) || sp.Train.Image(0)[0] != 2 {
			t.Errorf("training images %q", sp.Train.Names)
		}
		if want := []string{"test/good/000.png", "test/ant/000.png", "test/crack/000.png", "test/crack/001.png"}; !slices.Equal(sp.Test.Names, want) {
			t.Errorf("test images %q, want %q", sp.Test.Names, want)
		}
		if !slices.Equal(sp.Test.Labels, []int{0, 1, 2, 2}) || !slices.Equal(sp.Train.Labels, []int{0, 0}) {
			t.Errorf("labels %v and %v", sp.Train.Labels, sp.Test.Labels)
		}
		for i, at := range []int{-1, 3, 1, 5} {
			mask := sp.Test.Masks[i]
			if (at < 0) != (mask == nil) || at >= 0 && (slices.IndexFunc(mask, func(v byte) bool { return v != 0 }) != at) {
				t.Errorf("mask of image %d is %v, want one pixel at %d", i, mask, at)
			}
		}
	}
	for _, spec := range []string{root, "mvtec:" + root} {
		if _, err := Open(spec); err == nil || !strings.Contains(err.Error(), "categories bolt: name one") {
			t.Errorf("%s: error %v, want one that lists the categories", spec, err)
		}
	}
}

func TestOpenMVTecMasks(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		says  string
	}{
		"one mask missing": {func(dir string) error { return os.Remove(filepath.Join(dir, "ground_truth/crack/001_mask.png")) }, "001_mask.png"},
		"mask of another size": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "ground_truth/ant/000_mask.png"), encodePNG(t, greyRamp(5, 5)), 0o666)
		}, "mask of test/ant/000.png"},
		"image beside the kinds": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "test/stray.png"), encodePNG(t, greyRamp(3, 2)), 0o666)
		}, "outside of a folder"},
	} {
		dir := t.TempDir()
		writeCategory(t, dir)
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("mvtec:" + dir); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.says)
		}
	}
	// A kind without any masks is read, with a note.
	dir := t.TempDir()
	writeCategory(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, "ground_truth", "crack")); err != nil {
		t.Fatal(err)
	}
	sp, err := Open("mvtec:" + dir)
	if err != nil || len(sp.Notes()) != 1 || !strings.Contains(sp.Notes()[0], "crack") || sp.Test.Masks[2] != nil || sp.Test.Masks[1] == nil {
		t.Errorf("kind without masks: %+v, %v", sp, err)
	}
	// Training images alone will do.
	if err := os.RemoveAll(filepath.Join(dir, "test")); err != nil {
		t.Fatal(err)
	}
	if sp, err = Open("mvtec:" + dir); err != nil || sp.Test != nil || len(sp.Notes()) != 1 {
		t.Errorf("without a test folder: %+v, %v", sp, err)
	}
}
