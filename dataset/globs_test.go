package dataset

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestGlobs(t *testing.T) {
	const name = "a/b/photo-12.PNG"
	for glob, want := range map[string]bool{
		"*.PNG": true, "*.png": false, "photo-*": true, "photo-??.PNG": true, "photo-[0-9]*": true, "photo-[3-9]*": false, "*.{jpg,PNG}": true, "b": false, "*": true, "**": true,
		"a/*.PNG": false, "a/*/*.PNG": true, "a/**": true, "**/*.PNG": true, "**/b/*": true, "b/*": false, "/a/b/*": true, "./a/**": true, "/*.PNG": false,
		"a/**/photo-12.PNG": true, "a/b": false, "**/photo*": true,
	} {
		if have := (Reading{Include: []string{glob}}).takes(name); have != want {
			t.Errorf("--include %q takes %s: %v, want %v", glob, name, have, want)
		}
		if have := (Reading{Exclude: []string{glob}}).takes(name); have == want {
			t.Errorf("--exclude %q takes %s: %v, want %v", glob, name, have, !want)
		}
	}
	both := Reading{Include: []string{"a/**", "*.jpg"}, Exclude: []string{"*-12.*"}}
	if both.takes(name) || !both.takes("a/x.png") || !both.takes("z/x.jpg") || both.takes("z/x.png") {
		t.Error("of several globs one is enough, and those of Exclude have the last word")
	}
	for glob, sound := range map[string]bool{"[a": false, "{a": false, "": false, "[a]": true, "{a,b}": true, `a\*`: true} {
		if err := (Reading{Exclude: []string{glob}}).CheckGlobs(); (err == nil) != sound || !sound && !strings.Contains(err.Error(), `"`+glob+`"`) {
			t.Errorf("%q: %v", glob, err)
		}
	}
}

func TestGlobsChooseFromFolder(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"good/1.png", "good/raw/2.png", "bad/3.png", "bad/thumb-4.png", "raw/5.png"} {
		writeGrey(t, filepath.Join(dir, filepath.FromSlash(name)), uint8(i))
	}
	r := Reading{Exclude: []string{"**/raw/**", "thumb-*"}}
	sp, err := r.Open("folder:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if s := sp.Train; !slices.Equal(s.Names, []string{"bad/3.png", "good/1.png"}) || !slices.Equal(s.Classes, []string{"bad", "good"}) || len(sp.Notes()) != 0 {
		t.Errorf("names %q, classes %q, notes %q", s.Names, s.Classes, sp.Notes())
	}
	names, err := Reading{Include: []string{"good/**"}}.ImageFiles(dir)
	if err != nil || !slices.Equal(names, []string{"good/1.png", "good/raw/2.png"}) {
		t.Errorf("%q, %v", names, err)
	}
	for spec, c := range map[string]struct {
		r    Reading
		says string
	}{
		"folder:" + dir: {Reading{Include: []string{"*.jpg"}}, "no image files that the globs choose"},
		dir:             {Reading{Include: []string{"[x"}}, `"[x" is no glob`},
		"cifar-10:" + filepath.Join(synthDir, "cifar-10"): {Reading{Exclude: []string{"*"}}, "no set of image files"},
	} {
		if _, err := c.r.Open(spec); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one with %q", spec, err, c.says)
		}
	}
	if _, err := (Reading{Include: []string{"[x"}}).ImageFiles(dir); err == nil {
		t.Error("ImageFiles takes a glob that is none")
	}
}

// The globs of a category are compared with paths relative to it.
func TestGlobsChooseFromMVTec(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bolt")
	writeCategory(t, dir)
	sp, err := Reading{Exclude: []string{"test/crack/*", "train/good/001.png"}}.Open("mvtec:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sp.Train.Names, []string{"train/good/000.png"}) || !slices.Equal(sp.Test.Names, []string{"test/good/000.png", "test/ant/000.png"}) || sp.Test.Masks[1] == nil {
		t.Errorf("%q and %q", sp.Train.Names, sp.Test.Names)
	}
}
