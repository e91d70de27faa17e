package experiment

import (
	"context"
	"fmt"
	"slices"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment/baseline"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

// components is how many principal components MethodPCA keeps.
const components = 64

// baseline does a cell that trains no autoencoder, on the images that a model of the
// same task would index.
func (r *runner) baseline(ctx context.Context, j job, sp *dataset.Splits, rec *Record, watch *stopwatch) error {
	n, err := j.learn(sp)
	if err != nil {
		return err
	}
	rec.Inliers = len(n.Task.Inliers)
	rec.Train, rec.Indexed, rec.Calibration = n.Images.Len(), n.Images.Len(), n.Calib.Len()
	rec.count(n.Task.Novel)
	most := min(slices.Max(j.K), n.Images.Len())
	var scores baseline.Scores
	switch j.Method {
	case MethodPixels:
		scores, err = baseline.Pixels(ctx, n.Images, sp.Test, most)
	case MethodPCA:
		scores, err = baseline.PCA(ctx, n.Images, sp.Test, min(components, n.Images.Len()-1, n.Images.Size.Len()), most)
	case MethodDKNN:
		scores, err = r.dknn(ctx, n.Images, sp.Test, most)
	default:
		err = fmt.Errorf("unknown baseline %q", j.Method)
	}
	if err != nil {
		return err
	}
	watch.stop("score")
	rec.Results, err = scoresOf(scores, n.Task.Novel, j.K)
	watch.stop("evaluate")
	return err
}

func (r *runner) dknn(ctx context.Context, train, test dataset.Source, most int) (baseline.Scores, error) {
	if r.Backbone == "" {
		return baseline.Scores{}, errNoBackbone
	}
	b, err := models.OpenBackbone(r.Backbone, torch.CPU)
	if err != nil {
		return baseline.Scores{}, err
	}
	defer b.Close()
	return baseline.DKNN(ctx, b, train, test, most)
}

// scoresOf measures the scores of a baseline. Neither protocol scales anything here.
func scoresOf(s baseline.Scores, novel []bool, ks []int) (results []nln.Result, err error) {
	add := func(r nln.Result, scores []float64) {
		if err != nil {
			return
		}
		if r.AUROC, r.Lo, r.Hi, err = metrics.DeLong(scores, novel, nln.ConfidenceLevel); err != nil {
			return
		}
		for _, r.Protocol = range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
			results = append(results, r)
		}
	}
	if s.Recon != nil {
		add(nln.Result{Score: nln.ScoreRecon, Alpha: 1}, s.Recon)
	}
	for _, k := range ks {
		if k > s.K {
			continue
		}
		scores := make([]float64, len(novel))
		for i := range scores {
			scores[i] = s.Distance[i*s.K+k-1]
		}
		add(nln.Result{Score: nln.ScoreDistance, K: k}, scores)
	}
	return results, err
}
