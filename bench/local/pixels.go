package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"strconv"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln/metrics"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

const (
	components = 64    // of the images, kept
	pcaImages  = 10000 // that the components are found with
)

// pixels writes what an autoencoder has to beat: the mean distance to the k
// nearest training images themselves, and to their first principal components,
// for some classes of a labelled set under MISO, or for all.
func pixels(ctx context.Context, spec string, classes []string, w *csv.Writer) error {
	sp, err := dataset.Open(spec)
	if err != nil {
		return err
	}
	test, err := values(sp.Test)
	if err != nil {
		return err
	}
	if len(classes) == 0 {
		classes = sp.Test.Classes
	}
	for _, class := range classes {
		task, err := sp.Task(dataset.MISO, class)
		if err != nil {
			return err
		}
		train, err := values(sp.Train.Subset(task.Inliers))
		if err != nil {
			return err
		}
		dim := sp.Train.Size.Len()
		if err := distances(ctx, train, test, dim, task.Novel, w, spec, class, "pixels"); err != nil {
			return err
		}
		less, err := reduce(dim, train, test)
		if err != nil {
			return err
		}
		if err := distances(ctx, less[0], less[1], components, task.Novel, w, spec, class, fmt.Sprintf("PCA %d", components)); err != nil {
			return err
		}
		w.Flush()
	}
	return w.Error()
}

// values returns the scaled pixels of all images.
func values(set *dataset.Set) (v []float32, err error) {
	for x, err := range set.Batches(1024) {
		if err != nil {
			return nil, err
		}
		v = append(v, x.Pix...)
	}
	return v, nil
}

func distances(ctx context.Context, index, queries []float32, dim int, novel []bool, w *csv.Writer, head ...string) error {
	nb, err := nearest(ctx, index, queries, dim)
	if err != nil {
		return err
	}
	for _, k := range ks {
		scores := make([]float64, len(novel))
		for i := range scores {
			scores[i] = mean(nb.Dist[i*maxK : i*maxK+k])
		}
		auroc, err := metrics.AUROC(scores, novel)
		if err != nil {
			return err
		}
		w.Write([]string{head[0], head[1], "test", head[2], strconv.Itoa(k), "0", fmt.Sprintf("%.5f", auroc)})
	}
	return nil
}

// reduce returns the first principal components of vectors, found over the
// first set of them.
func reduce(dim int, sets ...[]float32) ([][]float32, error) {
	n := len(sets[0]) / dim
	step := max(1, n/pcaImages)
	x := mat.NewDense(n/step, dim, nil)
	for i := range n / step {
		for j := range dim {
			x.Set(i, j, float64(sets[0][i*step*dim+j]))
		}
	}
	var pc stat.PC
	if !pc.PrincipalComponents(x, nil) {
		return nil, fmt.Errorf("the images have no principal components")
	}
	var directions mat.Dense
	pc.VectorsTo(&directions)
	out := make([][]float32, len(sets))
	for s, set := range sets {
		for lo := 0; lo < len(set); lo += dim {
			sums := make([]float64, components)
			for j, v := range set[lo : lo+dim] {
				if v == 0 {
					continue // most of the pixels
				}
				for c, d := range directions.RawRowView(j)[:components] {
					sums[c] += float64(v) * d
				}
			}
			for _, v := range sums {
				out[s] = append(out[s], float32(v))
			}
		}
	}
	return out, nil
}
