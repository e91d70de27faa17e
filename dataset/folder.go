package dataset

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// openFolder reads folder:DIR, image files at any depth.
//
// Where each image lies in some sub-folder of DIR, the first-level sub-folders
// are the classes, sorted by name; with an image in DIR itself there are no
// labels. If those sub-folders are train and test, they are two splits, each
// read as a folder of its own with the classes of both. Otherwise there is one
// split, and Train and Test are the same *Set: a folder serves to train on and
// to score alike. See [Splits.Single].
func openFolder(location string, r Reading) (*Splits, error) {
	images, others, err := listImages(location)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("dataset: open folder: %s holds no image files", location)
	}
	base := "folder/" + filepath.Base(location)
	sp := &Splits{Kind: "folder"}
	if slices.Equal(firstLevel(images), []string{"test", "train"}) {
		test, train := cutPrefix(images, "test/"), cutPrefix(images, "train/")
		classes := unionClasses(train, test)
		if sp.Train, err = readFolder(filepath.Join(location, "train"), base+"/train", train, classes, r); err != nil {
			return nil, err
		}
		if sp.Test, err = readFolder(filepath.Join(location, "test"), base+"/test", test, classes, r); err != nil {
			return nil, err
		}
	} else {
		s, err := readFolder(location, base, images, firstLevel(images), r)
		if err != nil {
			return nil, err
		}
		sp.Train, sp.Test = s, s
	}
	if len(others) > 0 {
		sp.Train.Notes = append(sp.Train.Notes, fmt.Sprintf("folder: %s: %d files that are no image files by their names were left out, such as %s",
			location, len(others), others[0]))
	}
	return sp, nil
}

// firstLevel returns the sorted first folders of names, or nil if one of the
// names has none.
func firstLevel(names []string) []string {
	var dirs []string
	for _, name := range names {
		dir, _, ok := strings.Cut(name, "/")
		if !ok {
			return nil
		}
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func cutPrefix(names []string, prefix string) []string {
	var cut []string
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			cut = append(cut, rest)
		}
	}
	return cut
}

// unionClasses returns the classes of both splits, nil if one has none.
func unionClasses(train, test []string) []string {
	a, b := firstLevel(train), firstLevel(test)
	if a == nil || b == nil {
		return nil
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// readFolder reads the images names of dir, labelled by their first folders
// where classes is not nil.
func readFolder(dir, name string, names, classes []string, r Reading) (*Set, error) {
	s := &Set{Name: name, Names: names, Classes: classes, Scale: Scale255}
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = filepath.Join(dir, filepath.FromSlash(n))
		if classes != nil {
			class, _, _ := strings.Cut(n, "/")
			label, _ := slices.BinarySearch(classes, class)
			s.Labels = append(s.Labels, label)
		}
	}
	if err := s.readFiles(paths, r); err != nil {
		return nil, err
	}
	return s, nil
}
