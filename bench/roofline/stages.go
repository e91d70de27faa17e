package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

const (
	chunk      = 256  // images through a network at a time, as package models takes them
	batch      = 1024 // queries of a search
	neighbours = 3
)

// A path is what the stages run on.
type path struct {
	meta    workload.Meta
	bundle  *bundle.Bundle
	images  []float32
	queries []float32 // their latent vectors
	train   []uint8
	threads int
}

// stages measures the main path.
func stages(ctx context.Context, dir string, threads int) (found []results.RoofStage, err error) {
	p := path{threads: threads}
	if p.meta, err = workload.ReadMeta(dir); err != nil {
		return nil, err
	}
	if p.bundle, err = bundle.Open(filepath.Join(dir, workload.BundleDir), torch.CPU); err != nil {
		return nil, err
	}
	defer p.bundle.Close()
	if p.images, err = workload.ReadFloats(dir, workload.QueryFile); err != nil {
		return nil, err
	}
	if p.queries, err = workload.ReadFloats(dir, workload.QueryLatentFile); err != nil {
		return nil, err
	}
	if p.train, err = os.ReadFile(filepath.Join(dir, workload.TrainBytes)); err != nil {
		return nil, err
	}
	for _, f := range []func(context.Context) ([]results.RoofStage, error){p.layers, p.search, p.compare, p.optimiser, p.training} {
		s, err := f(ctx)
		if err != nil {
			return nil, err
		}
		found = append(found, s...)
	}
	return found, nil
}

// A layer is a part of the networks for small images with its counts an image:
// multiplications and additions, values read and written, values of its weights.
type layer struct {
	name            string
	flop            float64
	values, weights int
	apply           func(x, w, b *torch.Tensor) *torch.Tensor
	kernel          []int
}

// conv counts a 2x2 convolution at rows x columns; taps is how many products an
// output takes on average.
func conv(name string, in, out, rows, columns int, taps float64, values int, apply func(x, w, b *torch.Tensor) *torch.Tensor) layer {
	return layer{name: name, flop: 2 * taps * float64(in*out*rows*columns), values: values, weights: 4 * in * out,
		apply: apply, kernel: []int{out, in, 2, 2}}
}

func dense(name string, in, out int, apply func(x, w, b *torch.Tensor) *torch.Tensor) layer {
	return layer{name: name, flop: 2 * float64(in*out), values: in + out, weights: in * out, apply: apply, kernel: []int{out, in}}
}

// taps is how many products an output of a 2x2 convolution at rows x columns takes, of
// maps with multiples of 16 channels: n outputs in a row, in parts of three or two,
// are made of one product more than a part has outputs.
func taps(rows, columns int) float64 {
	points := func(n int) float64 { return float64(n + (n+2)/3) }
	return points(rows) * points(columns) / float64(rows*columns)
}

// network returns the layers of models/small.go. A kernel over a map with
// repeated rows and columns needs 9/4 products, not 4: neighbours are equal.
func network(m workload.Meta) []layer {
	f, c, h, w := m.Filters, m.Shape[0], m.Shape[1], m.Shape[2]
	full, half, quarter := h*w, h*w/4, h*w/16
	return []layer{
		conv("first convolution, ReLU, pooling", c, f[0], h, w, 4, c*full+f[0]*half,
			func(x, k, b *torch.Tensor) *torch.Tensor { return x.ConvPool(k, b) }),
		conv("second convolution, ReLU, pooling", f[0], f[1], h/2, w/2, taps(h/2, w/2), f[0]*half+f[1]*quarter,
			func(x, k, b *torch.Tensor) *torch.Tensor { return x.ConvPool(k, b) }),
		conv("third convolution, ReLU", f[1], f[2], h/4, w/4, taps(h/4, w/4), (f[1]+f[2])*quarter,
			func(x, k, b *torch.Tensor) *torch.Tensor { return x.Conv2x2Rows(k, b) }),
		dense("dense to latent", f[2]*quarter, m.Latent,
			func(x, k, b *torch.Tensor) *torch.Tensor { return x.Linear(k, b) }),
		dense("dense from latent, ReLU", m.Latent, f[2]*quarter,
			func(x, k, b *torch.Tensor) *torch.Tensor {
				return x.Linear(k, b).ReLUInPlace().Reshape(-1, f[2], h/4, w/4)
			}),
		conv("decoder's first convolution, ReLU", f[2], f[1], h/4, w/4, taps(h/4, w/4), (f[2]+f[1])*quarter,
			func(x, k, b *torch.Tensor) *torch.Tensor { return x.Conv2x2(k, b, true, true) }),
		conv("doubling and second convolution, ReLU", f[1], f[0], h/2, w/2, 2.25, f[1]*quarter+f[0]*half,
			func(x, k, b *torch.Tensor) *torch.Tensor { return x.UpConv(k, b, true) }),
		conv("doubling and last convolution", f[0], c, h, w, 2.25, f[0]*half+c*full,
			func(x, k, b *torch.Tensor) *torch.Tensor { return x.UpConv(k, b, false) }),
	}
}

// layers measures the networks layer by layer, each on what the one before gave.
func (p path) layers(context.Context) (found []results.RoofStage, err error) {
	err = torch.Run(func() error {
		s := torch.NewScope(torch.CPU)
		defer s.Close()
		n := chunk * p.meta.Shape[0] * p.meta.Shape[1] * p.meta.Shape[2]
		x := s.FromFloats(p.images[:n], chunk, p.meta.Shape[0], p.meta.Shape[1], p.meta.Shape[2])
		for _, l := range network(p.meta) {
			w, b := s.Full(.01, l.kernel...), s.Full(.01, l.kernel[0])
			seconds, err := best(s, func() *torch.Tensor { return l.apply(x, w, b) }, x, w, b)
			if err != nil {
				return err
			}
			found = append(found, results.RoofStage{Name: l.name, FLOP: chunk * l.flop,
				Bytes: 4 * float64(chunk*l.values+l.weights), Seconds: seconds})
			next := l.apply(x, w, b)
			s.Release(next)
			x = next
		}
		return s.Err()
	})
	return found, err
}

// search measures the search kernel; it multiplies bytes, which are counted as
// if they were float32.
func (p path) search(ctx context.Context) ([]results.RoofStage, error) {
	var found nln.Neighbors
	q := p.queries[:batch*p.meta.Latent]
	find := func() (err error) {
		found, err = p.bundle.Index.Search(ctx, q, neighbours, found)
		return err
	}
	if err := find(); err != nil { // packs the vectors
		return nil, err
	}
	seconds, err := shortest(find, func() {})
	values := float64(p.meta.Entries * p.meta.Latent)
	return []results.RoofStage{{Name: "search", FLOP: 2 * batch * values, Bytes: values + 4*float64(len(q)), Seconds: seconds}}, err
}

// compare measures the comparison of images with rows of the table, spread as
// neighbours are.
func (p path) compare(context.Context) ([]results.RoofStage, error) {
	table := p.bundle.Scorer.Recon()
	if table.Len() == 0 {
		return nil, errors.New("roofline: the bundle has no table of reconstructions")
	}
	seconds, err := shortest(func() error {
		var wg sync.WaitGroup
		for t := range p.threads {
			wg.Go(func() {
				for i := t; i < batch; i += p.threads {
					for j := range neighbours {
						table.MeanAbs(p.images[i*table.F:(i+1)*table.F], (i*neighbours+j)*7919%table.Len())
					}
				}
			})
		}
		wg.Wait()
		return nil
	}, func() {})
	f := float64(batch * table.F)
	return []results.RoofStage{{Name: "comparison with the table", FLOP: 3 * neighbours * f, Bytes: (4 + neighbours) * f, Seconds: seconds}}, err
}

// optimiser measures a step of Adam on all weights: it reads weight, gradient
// and two moments, and writes all but the gradient.
func (p path) optimiser(context.Context) ([]results.RoofStage, error) {
	values, seconds := 0, 0.
	err := torch.Run(func() error {
		var weights []*torch.Owned
		defer func() {
			for _, w := range weights {
				w.Close()
			}
		}()
		s := torch.NewScope(torch.CPU)
		defer s.Close()
		var grads []*torch.Tensor
		for _, l := range network(p.meta) {
			for _, shape := range [][]int{l.kernel, l.kernel[:1]} {
				n := 1
				for _, d := range shape {
					n *= d
				}
				w, err := torch.NewOwned(torch.CPU, make([]float32, n), shape...)
				if err != nil {
					return err
				}
				weights, grads, values = append(weights, w), append(grads, s.Full(.01, shape...)), values+n
			}
		}
		adam, err := torch.NewAdam(weights, torch.DefaultAdam(1e-4))
		if err != nil {
			return err
		}
		defer adam.Close()
		seconds, err = shortest(func() error { return adam.Step(s, grads) }, func() {})
		return err
	})
	return []results.RoofStage{{Name: "optimiser", FLOP: 12 * float64(values), Bytes: 7 * 4 * float64(values), Seconds: seconds}}, err
}

// training measures whole steps: forward and, at twice the operations, back. Its
// bytes depend on what is kept, so that only its arithmetic is counted.
func (p path) training(ctx context.Context) ([]results.RoofStage, error) {
	cfg := p.bundle.Model.Config()
	cfg.Steps = runs
	m, err := models.New(cfg, torch.CPU)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	set := &dataset.Set{Name: p.meta.Data, Size: m.Shape(), Pix: p.train}
	flop := 0.
	for _, l := range network(p.meta) {
		flop += l.flop
	}
	var steps []float64
	last := time.Now()
	_, err = models.Train(ctx, m, set, models.Options{Progress: func(models.Progress) {
		steps = append(steps, time.Since(last).Seconds())
		last = time.Now()
	}})
	if err != nil {
		return nil, err
	}
	return []results.RoofStage{{Name: "training step", FLOP: 3 * flop * float64(cfg.Batch), Seconds: slices.Min(steps)}}, nil
}
