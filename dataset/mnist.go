package dataset

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

var (
	mnistClasses   = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	fashionClasses = []string{
		"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
		"Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
	}
)

func openMNIST(location string) (*Splits, error) {
	return openIDX("mnist", location, mnistClasses)
}

func openFashion(location string) (*Splits, error) {
	return openIDX("fashion-mnist", location, fashionClasses)
}

// openIDX reads the four files of MNIST's distribution. One split may be
// missing; a split without its labels is unlabelled, with a note.
func openIDX(kind, dir string, classes []string) (*Splits, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("dataset: open %s: %w", kind, err)
	}
	train, err := readIDXSplit(dir, "train", classes)
	if err != nil {
		return nil, err
	}
	test, err := readIDXSplit(dir, "t10k", classes)
	if err != nil {
		return nil, err
	}
	sp := &Splits{Kind: kind, Train: train, Test: test}
	switch {
	case train == nil && test == nil:
		return nil, fmt.Errorf("dataset: open %s: %s holds neither train-images-idx3-ubyte nor t10k-images-idx3-ubyte, plain or .gz", kind, dir)
	case train == nil:
		test.Notes = append(test.Notes, fmt.Sprintf("%s: %s has no train-images-idx3-ubyte", kind, dir))
	case test == nil:
		train.Notes = append(train.Notes, fmt.Sprintf("%s: %s has no t10k-images-idx3-ubyte", kind, dir))
	case train.Size != test.Size:
		return nil, fmt.Errorf("dataset: open %s: training images are %v, test images %v", kind, train.Size, test.Size)
	}
	if train != nil {
		train.Name = kind + "/train"
	}
	if test != nil {
		test.Name = kind + "/test"
	}
	return sp, nil
}

// findIDX returns the first of the names under which the file is distributed
// that is there, or "". Plain comes first, being read sooner.
func findIDX(dir, stem string, dims int) string {
	for _, form := range []string{"%s-idx%d-ubyte", "%s-idx%d-ubyte.gz", "%s.idx%d-ubyte", "%s.idx%d-ubyte.gz"} {
		file := filepath.Join(dir, fmt.Sprintf(form, stem, dims))
		if isFile(file) {
			return file
		}
	}
	return ""
}

// readIDXSplit reads one split, or returns nil if its images are not there.
func readIDXSplit(dir, prefix string, classes []string) (*Set, error) {
	imagesFile := findIDX(dir, prefix+"-images", 3)
	if imagesFile == "" {
		return nil, nil
	}
	s := &Set{Classes: classes}
	err := readFile(imagesFile, func(f *os.File) (err error) {
		s.Pix, s.Size, err = ReadIDX(f, imagesFile)
		return err
	})
	if err != nil {
		return nil, err
	}
	labelsFile := findIDX(dir, prefix+"-labels", 1)
	if labelsFile == "" {
		s.Notes = []string{fmt.Sprintf("idx: %s has no labels beside it: its images are unlabelled", imagesFile)}
		return s, nil
	}
	err = readFile(labelsFile, func(f *os.File) (err error) {
		s.Labels, err = ReadIDXLabels(f, labelsFile)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(s.Labels) != s.Len() {
		return nil, formatErrorf(labelsFile, "idx: %d labels for the %d images of %s", len(s.Labels), s.Len(), imagesFile)
	}
	for i, v := range s.Labels {
		if v >= len(classes) {
			return nil, formatErrorf(labelsFile, "idx: label %d of image %d, want 0 to %d", v, i, len(classes)-1)
		}
	}
	return s, nil
}

// readFile opens a file for read and closes it.
func readFile(name string, read func(*os.File) error) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("dataset: read: %w", err)
	}
	return errors.Join(read(f), f.Close())
}
