package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/nln"
)

// latents are vectors of a trained model, from which more are drawn.
type latents struct {
	dim     int
	base    []float32 // of the training images
	near    []int64   // their nearest neighbours, neighbours a vector
	spread  float64   // standard deviation of a value
	queries []float32 // of test images
}

const (
	neighbours = 5
	grain      = .05 // of the spread: no two vectors that are drawn are equal
)

// readLatents returns the latents of a folder as vectors of dim values. It keeps
// the neighbours that it finds in a file: the memory in which they are searched
// stays with the process, and would hide what an index adds later.
func readLatents(ctx context.Context, dir string, dim int) (*latents, error) {
	meta, err := workload.ReadMeta(dir)
	if err != nil {
		return nil, err
	}
	base, err := workload.ReadFloats(dir, workload.LatentFile)
	if err != nil {
		return nil, err
	}
	queries, err := workload.ReadFloats(dir, workload.QueryLatentFile)
	if err != nil {
		return nil, err
	}
	l := &latents{dim: dim, base: mapped(base, meta.Latent, dim), queries: mapped(queries, meta.Latent, dim)}
	l.spread = deviation(l.base)
	file := filepath.Join(dir, fmt.Sprintf("near-L%d.json", dim))
	if workload.ReadJSON(file, &l.near) == nil {
		return l, nil
	}
	if err := l.findNear(ctx); err != nil {
		return nil, err
	}
	return l, workload.WriteJSON(file, l.near)
}

// mapped takes vectors of from values to vectors of to, by a fixed random linear
// map: more values than were trained then have the neighbourhoods of those, as
// larger latent spaces do, whose vectors lie near a surface of few dimensions.
func mapped(v []float32, from, to int) []float32 {
	if from == to {
		return v
	}
	rng := rand.New(rand.NewPCG(3, uint64(to)))
	a := make([]float32, from*to)
	for i := range a {
		a[i] = float32(rng.NormFloat64() / math.Sqrt(float64(to)))
	}
	out := make([]float32, len(v)/from*to)
	for i := range len(v) / from {
		for j := range to {
			sum := float32(0)
			for d, x := range v[i*from : (i+1)*from] {
				sum += x * a[j*from+d]
			}
			out[i*to+j] = sum
		}
	}
	return out
}

// deviation returns the root of the mean square of all values less their mean.
func deviation(v []float32) float64 {
	var sum, squares float64
	for _, x := range v {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(len(v))
	return math.Sqrt(max(0, squares/n-sum*sum/n/n))
}

// findNear finds the neighbours of each vector. The first is the vector itself.
func (l *latents) findNear(ctx context.Context) error {
	x, err := faissindex.New(l.dim)
	if err != nil {
		return err
	}
	defer x.Close()
	if err := x.Add(ctx, l.base); err != nil {
		return err
	}
	found, err := x.Search(ctx, l.base, neighbours+1, nln.Neighbors{})
	l.near = found.IDs
	return err
}

// draw returns n vectors, each on the way from a vector to one of its
// neighbours, and a little aside.
func (l *latents) draw(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	v := make([]float32, n*l.dim)
	for i := range n {
		at := rng.IntN(len(l.base) / l.dim)
		to := int(l.near[at*(neighbours+1)+rng.IntN(neighbours+1)])
		part := rng.Float32()
		for d := range l.dim {
			a, b := l.base[at*l.dim+d], l.base[to*l.dim+d]
			v[i*l.dim+d] = a + part*(b-a) + float32(grain*l.spread*rng.NormFloat64())
		}
	}
	return v
}
