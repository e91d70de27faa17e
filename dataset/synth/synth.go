// Package synth makes image sets out of a seed: hand-written symbols of ten
// classes, and images of them with local defects and their masks. They serve
// where no real set is at hand, for tests, demonstrations and smoke runs of
// training; scores on them say nothing about real images.
//
// [Generate] makes a labelled set in memory and [WriteIDX] writes one under
// MNIST's file names, so that it opens as mnist:DIR. [GenerateInspection] and
// [WriteMVTec] do the same for sets of good and defective images, in the
// layout of MVTec AD.
//
// An image depends on the seed, its class, its number and the size alone, not
// on how many are made. All arithmetic is written so that no processor rounds
// it differently, and every random number comes straight from PCG: the same
// options give the same pixels on every platform and with every version of Go.
// The compressed files may differ between Go versions, what is in them not.
package synth

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"

	"github.com/nlnctl/nlnctl/dataset"
)

// NumClasses is how many classes of symbols there are.
const NumClasses = len(glyphs)

// Bounds of the options: an image must hold a glyph, and a set fit in memory.
const (
	minSize = 12
	maxSize = 1024
)

// Options say what labelled set to make. Start from [DefaultOptions].
type Options struct {
	Classes       int    // 1 to NumClasses; the first so many
	TrainPerClass int    // at least 1
	TestPerClass  int    // at least 0; with 0 there is no test set
	Size          int    // rows and columns, 12 to 1024
	Channels      int    // 1: light strokes on black; 3: coloured, on grained paper
	Seed          uint64 // any
}

// DefaultOptions returns a set of MNIST's form, a fifth of its size.
func DefaultOptions() Options {
	return Options{
		Classes:       NumClasses,
		TrainPerClass: 1000,
		TestPerClass:  200,
		Size:          28,
		Channels:      1,
		Seed:          1,
	}
}

// Check reports the first option out of its range.
func (o Options) Check() error {
	switch {
	case o.Classes < 1 || o.Classes > NumClasses:
		return fmt.Errorf("synth: %d classes, want 1 to %d", o.Classes, NumClasses)
	case o.TrainPerClass < 1:
		return fmt.Errorf("synth: %d training images per class, want at least 1", o.TrainPerClass)
	case o.TestPerClass < 0:
		return fmt.Errorf("synth: %d test images per class, want at least 0", o.TestPerClass)
	}
	return checkImages(o.Size, o.Channels, max(o.TrainPerClass, o.TestPerClass), o.Classes)
}

func checkImages(size, channels, each, groups int) error {
	switch {
	case size < minSize || size > maxSize:
		return fmt.Errorf("synth: size %d, want %d to %d", size, minSize, maxSize)
	case channels != 1 && channels != 3:
		return fmt.Errorf("synth: %d channels, want 1 or 3", channels)
	case each > dataset.MaxSetBytes/(groups*channels*size*size):
		return fmt.Errorf("synth: %d images in each of %d groups pass the limit of %d bytes for a set", each, groups, int64(dataset.MaxSetBytes))
	}
	return nil
}

// The splits as keys of an image's stream.
const (
	splitTrain uint64 = iota
	splitTest
)

// Generate makes the set: Kind "synth", classes named "0" to "9". The labels go
// round, 0, 1, 2, ..., so that any first part of a split holds the classes
// evenly. Test is nil if there are no test images.
func Generate(o Options) (*dataset.Splits, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	sp := &dataset.Splits{Kind: "synth", Train: o.split("synth/train", splitTrain, o.TrainPerClass)}
	if o.TestPerClass > 0 {
		sp.Test = o.split("synth/test", splitTest, o.TestPerClass)
	}
	return sp, nil
}

func (o Options) split(name string, split uint64, perClass int) *dataset.Set {
	n := perClass * o.Classes
	s := &dataset.Set{
		Name:   name,
		Size:   dataset.Shape{C: o.Channels, H: o.Size, W: o.Size},
		Labels: make([]int, n),
	}
	s.Pix = make([]uint8, n*s.Size.Len())
	for c := range o.Classes {
		s.Classes = append(s.Classes, strconv.Itoa(c))
	}
	eachImage(n, func(i int) {
		c := i % o.Classes
		s.Labels[i] = c
		sc := newScene(imageID{o.Seed, split, uint64(c), uint64(i / o.Classes)}, o.Size, o.Channels)
		copy(s.Image(i), sc.bytes(sc.paint(sc.cover)))
	})
	return s
}

// eachImage calls do(0) to do(n-1) from several goroutines.
func eachImage(n int, do func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wg.Wait()
}
