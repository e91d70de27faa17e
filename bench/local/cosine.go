package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"strconv"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

// cosine writes what the error terms of a bundle's networks give on the test set
// with another measure than the paper's mean absolute difference of features:
// one less the cosine between them, which does not see their lengths.
func cosine(ctx context.Context, path string, w *csv.Writer) error {
	b, err := open(path)
	if err != nil {
		return err
	}
	defer b.Close()
	test := b.data.Test
	z, err := encode(ctx, b.Model, test)
	if err != nil {
		return err
	}
	nb, err := b.Index.Search(ctx, z, maxK, nln.Neighbors{})
	if err != nil {
		return err
	}
	tables := map[nln.Feature]*nln.Table{}
	for _, t := range b.Scorer.Kept().Tables {
		tables[t.Feature] = t
	}
	for _, s := range b.Scorer.Spaces() {
		t := tables[s.Neighbor]
		if t == nil || s.Neighbor.Network == "" {
			continue
		}
		query := z
		if s.Query.Network != "" {
			if query, err = features(ctx, b.Model, s, test); err != nil {
				return err
			}
		}
		row := make([]float32, s.Dim)
		for _, k := range ks {
			absolute, angle := make([]float64, test.Len()), make([]float64, test.Len())
			for i := range absolute {
				q := query[i*s.Dim : (i+1)*s.Dim]
				for _, id := range nb.IDs[i*maxK : i*maxK+k] {
					absolute[i] += t.MeanAbs(q, int(id)) / float64(k)
					angle[i] += (1 - cos(q, t.Row(int(id), row))) / float64(k)
				}
			}
			for name, scores := range map[string][]float64{"mean absolute": absolute, "1 - cosine": angle} {
				auroc, err := metrics.AUROC(scores, b.task.Novel)
				if err != nil {
					return err
				}
				w.Write([]string{path, b.Manifest.Data.Class, "test", s.Name + " " + name, strconv.Itoa(k), "0", fmt.Sprintf("%.5f", auroc)})
			}
		}
	}
	w.Flush()
	return w.Error()
}

func features(ctx context.Context, m nln.FeatureModel, s nln.Space, set *dataset.Set) ([]float32, error) {
	v := make([]float32, set.Len()*s.Dim)
	done := 0
	for x, err := range set.Batches(1024) {
		if err != nil {
			return nil, err
		}
		if err := m.Features(ctx, s.Query.Network, x, v[done*s.Dim:(done+x.N)*s.Dim]); err != nil {
			return nil, err
		}
		done += x.N
	}
	return v, nil
}

func cos(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}
