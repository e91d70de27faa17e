package dataset

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// openFolder reads folder:DIR, image files at any depth, see folderSets.
func openFolder(_ context.Context, location string, r Reading) (*Splits, error) {
	images, others, err := r.listImages(location, "")
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, r.noImages("folder", location)
	}
	sp, parts := folderSets("folder", "folder/"+filepath.Base(location), images)
	for _, p := range parts {
		paths := make([]string, len(p.set.Names))
		for i, n := range p.set.Names {
			paths[i] = filepath.Join(location, filepath.FromSlash(p.prefix+n))
		}
		if err := p.set.readFiles(paths, r); err != nil {
			return nil, err
		}
	}
	if len(others) > 0 {
		sp.noteOthers("folder: "+location, len(others), others[0])
	}
	return sp, nil
}

// noteOthers notes files that were left out.
func (sp *Splits) noteOthers(where string, n int, such string) {
	sp.Train.Notes = append(sp.Train.Notes, fmt.Sprintf("%s: %d files that are no image files by their names were left out, such as %s",
		where, n, such))
}

// A part is a set of folderSets that has no pixels yet. Its names are relative to
// the folder that prefix names, which is empty or ends in a slash.
type part struct {
	set    *Set
	prefix string
}

// folderSets returns the sets that image files make, named by slash-separated
// paths, sorted, relative to their folder.
//
// Where each image lies in some sub-folder, the first-level sub-folders are the
// classes, sorted by name; with an image in the folder itself there are no
// labels. If those sub-folders are train and test, they are two splits, each
// a folder of its own with the classes of both. Otherwise there is one split, and
// Train and Test are the same *Set: a folder serves to train on and to score
// alike. See [Splits.Single].
func folderSets(kind, base string, images []string) (*Splits, []part) {
	if slices.Equal(firstLevel(images), []string{"test", "train"}) {
		test, train := cutPrefix(images, "test/"), cutPrefix(images, "train/")
		classes := unionClasses(train, test)
		sp := &Splits{Kind: kind, Train: setOf(base+"/train", train, classes), Test: setOf(base+"/test", test, classes)}
		return sp, []part{{sp.Train, "train/"}, {sp.Test, "test/"}}
	}
	s := setOf(base, images, firstLevel(images))
	return &Splits{Kind: kind, Train: s, Test: s}, []part{{s, ""}}
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

// setOf returns a set of images without pixels, labelled by their first folders
// where classes is not nil.
func setOf(name string, names, classes []string) *Set {
	s := &Set{Name: name, Names: names, Classes: classes, Scale: Scale255}
	if classes != nil {
		for _, n := range names {
			class, _, _ := strings.Cut(n, "/")
			label, _ := slices.BinarySearch(classes, class)
			s.Labels = append(s.Labels, label)
		}
	}
	return s
}
