package dataset

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// openMVTec reads mvtec:DIR/category in the layout of MVTec AD: train/good,
// test/KIND, and ground_truth/KIND/ID_mask.png for each test image of a kind
// other than good. Label 0 is good, the other kinds follow sorted by name; the
// images are ordered by label, then by name. Names are relative to the
// category's folder. The test folder may be missing.
func openMVTec(_ context.Context, location string, r Reading) (*Splits, error) {
	if !isDir(filepath.Join(location, "train", "good")) {
		return nil, notMVTec(location)
	}
	base := "mvtec/" + filepath.Base(location)
	train, _, err := r.listImages(filepath.Join(location, "train", "good"), "train/good/")
	if err != nil {
		return nil, err
	}
	if len(train) == 0 {
		return nil, r.noImages("mvtec", filepath.Join(location, "train", "good"))
	}
	kinds := []string{"good"}
	var test []string
	if isDir(filepath.Join(location, "test")) {
		if test, _, err = r.listImages(filepath.Join(location, "test"), "test/"); err != nil {
			return nil, err
		}
		dirs := firstLevel(test)
		if dirs == nil {
			return nil, fmt.Errorf("dataset: open mvtec: %s holds no images, or some outside of a folder for their kind", filepath.Join(location, "test"))
		}
		kinds = append(kinds, slices.DeleteFunc(dirs, func(d string) bool { return d == "good" })...)
	}
	sp := &Splits{Kind: "mvtec"}
	if sp.Train, err = readMVTec(location, base+"/train", "train/good/", train, kinds, r); err != nil {
		return nil, err
	}
	if test == nil {
		sp.Train.Notes = append(sp.Train.Notes, "mvtec: "+location+" has no test folder")
		return sp, nil
	}
	if sp.Test, err = readMVTec(location, base+"/test", "test/", byKind(test, kinds), kinds, r); err != nil {
		return nil, err
	}
	if err := sp.Test.readMasks(location, r); err != nil {
		return nil, err
	}
	return sp, nil
}

// notMVTec says what a folder without train/good is instead.
func notMVTec(location string) error {
	if c := mvtecCategories(location); len(c) > 0 {
		return fmt.Errorf("dataset: open mvtec: %s holds the categories %s: name one, as in mvtec:%s",
			location, strings.Join(c, ", "), filepath.Join(location, c[0]))
	}
	return fmt.Errorf("dataset: open mvtec: %s has no folder train/good", location)
}

// mvtecCategories returns the sub-folders of dir that have a train/good.
func mvtecCategories(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if isDir(filepath.Join(dir, e.Name(), "train", "good")) {
			names = append(names, e.Name())
		}
	}
	return names
}

// byKind orders names by kind, good first, then by name.
func byKind(names, kinds []string) []string {
	var sorted []string
	for _, k := range kinds {
		for _, n := range names {
			if strings.HasPrefix(n, k+"/") {
				sorted = append(sorted, n)
			}
		}
	}
	return sorted
}

// readMVTec reads images named relative to the folder prefix of a category.
func readMVTec(location, name, prefix string, names, kinds []string, r Reading) (*Set, error) {
	s := &Set{Name: name, Classes: kinds, Scale: Scale255}
	var paths []string
	for _, n := range names {
		full := prefix + n
		kind := strings.Split(full, "/")[1]
		s.Names = append(s.Names, full)
		s.Labels = append(s.Labels, slices.Index(kinds, kind))
		paths = append(paths, filepath.Join(location, filepath.FromSlash(full)))
	}
	if err := s.readFiles(paths, r); err != nil {
		return nil, err
	}
	return s, nil
}

// readMasks reads the masks of all images that are not good. A kind without a
// folder of masks gets none and a note; in a kind with one, each image must
// have its mask, of its size or of any where images are resized; a pixel is marked
// where the mask is not zero.
func (s *Set) readMasks(location string, r Reading) error {
	s.Masks = make([][]byte, s.Len())
	without := make(map[int]bool)
	for k, kind := range s.Classes {
		if k > 0 && !isDir(filepath.Join(location, "ground_truth", kind)) {
			without[k] = true
			s.Notes = append(s.Notes, fmt.Sprintf("mvtec: %s has no masks for the kind %s", location, kind))
		}
	}
	return inParallel(0, s.Len(), func(i int) error {
		k := s.Labels[i]
		if k == 0 || without[k] {
			return nil
		}
		rest := strings.TrimPrefix(s.Names[i], "test/")
		file := strings.TrimSuffix(rest, path.Ext(rest)) + "_mask.png"
		file = filepath.Join(location, "ground_truth", filepath.FromSlash(file))
		mask, err := readMask(file, s.Size, r)
		if err != nil {
			return fmt.Errorf("dataset: mask of %s: %w", s.Names[i], err)
		}
		s.Masks[i] = mask
		return nil
	})
}

// readMask reads a mask. One of another size is resized by taking the nearest
// pixel, which keeps its values.
func readMask(file string, size Shape, r Reading) ([]byte, error) {
	have := Shape{C: 1, H: size.H, W: size.W}
	if r.resizes() {
		stat, err := StatImage(file)
		if err != nil {
			return nil, err
		}
		have.H, have.W = stat.H, stat.W
	}
	mask, err := ReadImage(file, have)
	if err != nil || have.H == size.H && have.W == size.W {
		return mask, err
	}
	resized := make([]byte, size.H*size.W)
	for y := range size.H {
		row := mask[(2*y+1)*have.H/(2*size.H)*have.W:]
		for x := range size.W {
			resized[y*size.W+x] = row[(2*x+1)*have.W/(2*size.W)]
		}
	}
	return resized, nil
}
