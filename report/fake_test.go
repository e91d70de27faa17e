package report_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/dataset/synth"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/report"
)

// pca is a linear autoencoder: the latent vector of an image is its place along
// the main directions of the training images.
type pca struct {
	shape dataset.Shape
	mean  []float32
	basis []float32 // latent x shape.Len(), orthonormal rows
}

func newPCA(train *dataset.Set, latent int) *pca {
	n, f := train.Len(), train.Size.Len()
	x := train.Gather(indices(n), make([]float32, n*f))
	m := &pca{shape: train.Size, mean: make([]float32, f), basis: make([]float32, latent*f)}
	for i := range x.Pix {
		m.mean[i%f] += x.Pix[i] / float32(n)
	}
	centred := mat.NewDense(n, f, nil)
	for i := range x.Pix {
		centred.Set(i/f, i%f, float64(x.Pix[i]-m.mean[i%f]))
	}
	var svd mat.SVD
	if !svd.Factorize(centred, mat.SVDThinV) {
		panic("no singular values")
	}
	var v mat.Dense
	svd.VTo(&v)
	for j := range latent {
		for p := range f {
			m.basis[j*f+p] = float32(v.At(p, j))
		}
	}
	return m
}

func (m *pca) Shape() dataset.Shape { return m.shape }
func (m *pca) LatentDim() int       { return len(m.basis) / m.shape.Len() }

func (m *pca) Encode(_ context.Context, x dataset.Images, z []float32) error {
	f := m.shape.Len()
	for i := range x.N {
		for j := range m.LatentDim() {
			var sum float32
			for p, v := range x.At(i) {
				sum += (v - m.mean[p]) * m.basis[j*f+p]
			}
			z[i*m.LatentDim()+j] = sum
		}
	}
	return nil
}

func (m *pca) Decode(_ context.Context, z, xhat []float32) error {
	f := m.shape.Len()
	for i := range len(z) / m.LatentDim() {
		for p := range f {
			sum := m.mean[p]
			for j := range m.LatentDim() {
				sum += z[i*m.LatentDim()+j] * m.basis[j*f+p]
			}
			xhat[i*f+p] = min(max(sum, 0), 1)
		}
	}
	return nil
}

func indices(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

// A scene is a fitted detector with a test set.
type scene struct {
	scorer      *nln.Scorer
	train, test *dataset.Set
	novel       []bool
}

// glyphs is a detector of small grey symbols that has not seen the class 2.
var glyphs = sync.OnceValue(func() scene {
	sp, err := synth.Generate(synth.Options{Classes: 6, TrainPerClass: 120, TestPerClass: 40, Size: 28, Channels: 1, Seed: 3})
	if err != nil {
		panic(err)
	}
	task, err := sp.Task(dataset.MISO, "2")
	if err != nil {
		panic(err)
	}
	normal := shuffled(sp.Train.Subset(task.Inliers))
	return newScene(normal, 400, sp.Test, task.Novel, 24, .02)
})

// parts is a detector of defects in coloured images with masks.
var parts = sync.OnceValue(func() scene {
	o := synth.DefaultInspection()
	o.Train, o.Size, o.Good, o.Each = 160, 64, 20, 5
	sp, err := synth.GenerateInspection(o)
	if err != nil {
		panic(err)
	}
	task, err := sp.Task(dataset.Defects, "")
	if err != nil {
		panic(err)
	}
	return newScene(shuffled(sp.Train), 110, sp.Test, task.Novel, 16, .05)
})

func shuffled(s *dataset.Set) *dataset.Set {
	return s.Subset(rand.New(rand.NewPCG(1, 2)).Perm(s.Len()))
}

// newScene fits a detector on the first images of normal and calibrates it with
// the others.
func newScene(normal *dataset.Set, train int, test *dataset.Set, novel []bool, latent int, fpr float64) scene {
	all := indices(normal.Len())
	sc := scene{train: normal.Subset(all[:train]), test: test, novel: novel}
	cfg := nln.DefaultConfig()
	cfg.FPR, cfg.MaxK = fpr, 5
	var err error
	sc.scorer, err = nln.Fit(context.Background(), newPCA(sc.train, latent), nln.NewExact(latent), sc.train, normal.Subset(all[train:]), cfg)
	if err != nil {
		panic(err)
	}
	return sc
}

// evaluate returns the page that an evaluation makes.
func (sc scene) evaluate(t testing.TB, title string, each int) *report.Page {
	t.Helper()
	p := report.New(title, sc.scorer)
	test, err := sc.scorer.PartsAll(t.Context(), sc.test)
	if err != nil {
		t.Fatal(err)
	}
	p.Results, err = nln.Evaluate(test, sc.novel, sc.scorer.CalibrationParts(), []int{1, 2, 3, 5},
		[]float64{0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1})
	if err != nil {
		t.Fatal(err)
	}
	p.Novel = sc.novel
	for i := range test.Len() {
		p.Scores = append(p.Scores, sc.scorer.Calibration().Score(test, i))
		p.Classes = append(p.Classes, sc.test.Classes[sc.test.Labels[i]])
	}
	p.Facts = append(p.Facts, report.Fact{Name: "Data", Value: sc.test.Name}, report.Fact{Name: "Test images", Value: strconv.Itoa(test.Len())})
	indexed := func(id int64) string { return sc.train.ImageName(int(id)) }
	if err := p.Illustrate(t.Context(), sc.scorer, sc.test, indexed, each); err != nil {
		t.Fatal(err)
	}
	return p
}
