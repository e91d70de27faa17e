// Command local chooses the settings of the local score (see nln.Local) without
// a look at the novel class, and then says what they give on it.
//
//	local BUNDLE.nln ...
//	local -pixels DATA [CLASS ...]    what an autoencoder has to beat: see pixels
//	local -cosine BUNDLE.nln ...      another measure of the error terms: see cosine
//
// The bundles are of MISO tasks. In each, every normal class is taken for novel
// in turn: its latents leave the index, and the held-out images of that class
// are to be told from those of the others. No test image takes part, and none of
// the class that is novel. (The encoder has seen the class, which makes it
// easier to place; what is asked is which setting ranks best, not how well.) The
// mean AUROC over all such tasks is what a choice goes by; beside it stands the
// AUROC on the test set, where the novel class is novel.
package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

var (
	ks     = []int{1, 3, 5, 10}
	powers = []float64{0, .25, .5, .75, 1}
)

const (
	maxK    = 10
	held    = .1  // share that presets hold out
	densest = 100 // as in package nln
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, paths []string) error {
	w := csv.NewWriter(os.Stdout)
	w.Write([]string{"bundle", "class", "novel", "latents", "k", "power", "auroc"})
	if len(paths) > 1 && paths[0] == "-pixels" {
		return pixels(ctx, paths[1], paths[2:], w)
	}
	each := study
	if len(paths) > 0 && paths[0] == "-cosine" {
		each, paths = cosine, paths[1:]
	}
	for _, path := range paths {
		if err := each(ctx, path, w); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		w.Flush()
	}
	return w.Error()
}

// A trial is a bundle and the task that it was trained for.
type trial struct {
	*bundle.Bundle
	data *dataset.Splits
	task *dataset.Task
}

// open opens a bundle, which the caller closes, and reads its data.
func open(path string) (t trial, err error) {
	if t.Bundle, err = bundle.Open(path, torch.CPU); err != nil {
		return t, err
	}
	about := t.Manifest.Data
	if t.data, err = dataset.Open(about.Source); err == nil {
		t.task, err = t.data.Task(about.Protocol, about.Class)
	}
	if err != nil {
		t.Close()
		return t, err
	}
	t.data.Train.Scale, t.data.Test.Scale = about.Scale, about.Scale
	return t, nil
}

// heldOut returns the normal images that the bundle was calibrated with.
func (t trial) heldOut() (*dataset.Set, error) {
	normal := t.data.Train.Subset(t.task.Inliers)
	rest, out := dataset.Split(normal.Len(), normal.Labels, held, t.Manifest.Model.Seed)
	if len(rest) != len(t.Train) {
		return nil, fmt.Errorf("%d images are left to index, the bundle has %d", len(rest), len(t.Train))
	}
	for i, k := range rest {
		if name := normal.ImageName(k); name != t.Train[i].Name {
			return nil, fmt.Errorf("indexed image %d is %s, the bundle has %s", i, name, t.Train[i].Name)
		}
	}
	return normal.Subset(out), nil
}

// study writes the rows of a bundle: those of the normal classes, then "test".
func study(ctx context.Context, path string, w *csv.Writer) error {
	b, err := open(path)
	if err != nil {
		return err
	}
	defer b.Close()
	held, err := b.heldOut()
	if err != nil {
		return err
	}
	class, dim := b.Manifest.Data.Class, b.Model.LatentDim()
	heldZ, err := encode(ctx, b.Model, held)
	if err != nil {
		return err
	}
	index := b.Index.Vectors()
	for _, other := range classes(b.Train) {
		var z []float32
		for i, im := range b.Train {
			if im.Class != other {
				z = append(z, index[i*dim:(i+1)*dim]...)
			}
		}
		novel := make([]bool, held.Len())
		for i, l := range held.Labels {
			novel[i] = held.Classes[l] == other
		}
		if err := measure(ctx, z, heldZ, dim, novel, w, []string{path, class, other}); err != nil {
			return err
		}
	}
	testZ, err := encode(ctx, b.Model, b.data.Test)
	if err != nil {
		return err
	}
	return measure(ctx, index, testZ, dim, b.task.Novel, w, []string{path, class, "test"})
}

func classes(images []bundle.Image) []string {
	var names []string
	for _, im := range images {
		if !slices.Contains(names, im.Class) {
			names = append(names, im.Class)
		}
	}
	slices.Sort(names)
	return names
}

func encode(ctx context.Context, m nln.Model, set *dataset.Set) ([]float32, error) {
	z := make([]float32, set.Len()*m.LatentDim())
	done := 0
	for x, err := range set.Batches(1024) {
		if err != nil {
			return nil, err
		}
		if err := m.Encode(ctx, x, z[done*m.LatentDim():(done+x.N)*m.LatentDim()]); err != nil {
			return nil, err
		}
		done += x.N
	}
	return z, nil
}

// measure writes a row for each setting over latents as they are, whitened, and
// for the product of the scores over both.
func measure(ctx context.Context, index, queries []float32, dim int, novel []bool, w *csv.Writer, head []string) error {
	plain, err := search(ctx, index, queries, dim)
	if err != nil {
		return err
	}
	whitened := slices.Clone(index)
	turned := slices.Clone(queries)
	if err := whiten(whitened, turned, dim); err != nil {
		return err
	}
	white, err := search(ctx, whitened, turned, dim)
	if err != nil {
		return err
	}
	for _, k := range ks {
		for _, power := range powers {
			a, b := plain.scores(k, power), white.scores(k, power)
			product := make([]float64, len(a))
			for i := range a {
				product[i] = a[i] * b[i]
			}
			for _, s := range []struct {
				latents string
				scores  []float64
			}{{"plain", a}, {"whitened", b}, {"both", product}} {
				auroc, err := metrics.AUROC(s.scores, novel)
				if err != nil {
					return err
				}
				w.Write(append(slices.Clone(head), s.latents, strconv.Itoa(k), fmt.Sprint(power), fmt.Sprintf("%.5f", auroc)))
			}
		}
	}
	return nil
}

// found is what searches gave: the neighbours of the queries, and the mean
// distance of each indexed vector to its k nearest others, by k.
type found struct {
	queries nln.Neighbors
	spacing [][]float64
}

// indexed returns an index of vectors, which the caller closes.
func indexed(ctx context.Context, vectors []float32, dim int) (*faissindex.Index, error) {
	x, err := faissindex.New(dim)
	if err != nil {
		return nil, err
	}
	return x, x.Add(ctx, vectors)
}

func search(ctx context.Context, index, queries []float32, dim int) (f found, err error) {
	x, err := indexed(ctx, index, dim)
	if err != nil {
		return f, err
	}
	defer x.Close()
	n := len(index) / dim
	self := make([]int64, n)
	for i := range self {
		self[i] = int64(i)
	}
	var own nln.Neighbors
	if own, err = nln.SearchOthers(ctx, x, index, self, maxK, own); err != nil {
		return f, err
	}
	f.spacing = make([][]float64, maxK)
	for k := range f.spacing {
		f.spacing[k] = make([]float64, n)
		for i := range n {
			f.spacing[k][i] = mean(own.Dist[i*maxK : i*maxK+k+1])
		}
	}
	f.queries, err = x.Search(ctx, queries, maxK, f.queries)
	return f, err
}

// scores returns the local score of each query.
func (f found) scores(k int, power float64) []float64 {
	spacing := f.spacing[k-1]
	var floor float64
	for _, v := range spacing {
		floor += v / float64(len(spacing)) / densest
	}
	s := make([]float64, len(f.queries.IDs)/maxK)
	for i := range s {
		var around float64
		for _, id := range f.queries.IDs[i*maxK : i*maxK+k] {
			around += spacing[id] / float64(k)
		}
		s[i] = mean(f.queries.Dist[i*maxK:i*maxK+k]) / math.Pow(max(around, floor), power)
	}
	return s
}

func mean(v []float32) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x)
	}
	return sum / float64(len(v))
}
