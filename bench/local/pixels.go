package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"strconv"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment/baseline"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

const components = 64 // of the images, kept

// pixels writes what an autoencoder has to beat: the mean distance to the k
// nearest training images themselves, and to their first principal components,
// for some classes of a labelled set under MISO, or for all.
func pixels(ctx context.Context, spec string, classes []string, w *csv.Writer) error {
	sp, err := dataset.Open(spec)
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
		train := sp.Train.Subset(task.Inliers)
		plain, err := baseline.Pixels(ctx, train, sp.Test, maxK)
		if err != nil {
			return err
		}
		if err := distances(plain, task.Novel, w, spec, class, "pixels"); err != nil {
			return err
		}
		less, err := baseline.PCA(ctx, train, sp.Test, components, maxK)
		if err != nil {
			return err
		}
		if err := distances(less, task.Novel, w, spec, class, fmt.Sprintf("PCA %d", components)); err != nil {
			return err
		}
		w.Flush()
	}
	return w.Error()
}

func distances(s baseline.Scores, novel []bool, w *csv.Writer, head ...string) error {
	for _, k := range ks {
		auroc, err := metrics.AUROC(s.Of(k), novel)
		if err != nil {
			return err
		}
		w.Write([]string{head[0], head[1], "test", head[2], strconv.Itoa(k), "0", fmt.Sprintf("%.5f", auroc)})
	}
	return nil
}
