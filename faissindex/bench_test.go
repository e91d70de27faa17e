package faissindex

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/faiss"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

// latents returns n vectors like those of a trained encoder: ten classes, each
// spread in a dozen directions of its own, and a little in all.
func latents(rng *rand.Rand, n, dim int) []float32 {
	const classes, rank = 10, 12
	shape := rand.New(rand.NewPCG(7, uint64(dim))) // the same for vectors and queries
	centers, axes := make([]float64, classes*dim), make([]float64, classes*rank*dim)
	for i := range centers {
		centers[i] = 1.5 * shape.NormFloat64()
	}
	for i := range axes {
		axes[i] = shape.NormFloat64() / math.Sqrt(1+float64(i/dim%rank))
	}
	v := make([]float32, n*dim)
	for i := range n {
		c := rng.IntN(classes)
		x := make([]float64, dim)
		copy(x, centers[c*dim:(c+1)*dim])
		for r := range rank {
			f := rng.NormFloat64()
			for d := range x {
				x[d] += f * axes[(c*rank+r)*dim+d]
			}
		}
		for d := range x {
			v[i*dim+d] = float32(x[d] + 0.2*rng.NormFloat64())
		}
	}
	return v
}

// BenchmarkSearch compares with FAISS Flat as it is, which gives squared
// distances, rounded and without an order of ties.
func BenchmarkSearch(b *testing.B) {
	const n, queries = 60000, 1000
	defer torch.SetThreads(0)
	for _, dim := range []int{32, 128} {
		rng := rand.New(rand.NewPCG(1, 2))
		v, q := latents(rng, n, dim), latents(rng, queries, dim)
		x := newIndex(b, dim, v)
		flat, err := faiss.New(dim, "Flat")
		if err != nil {
			b.Fatal(err)
		}
		defer flat.Close()
		if err := flat.Add(v); err != nil {
			b.Fatal(err)
		}
		for _, k := range []int{1, 3, 5} {
			for _, batch := range []int{1, queries} {
				for _, threads := range []int{1, 2} {
					name := fmt.Sprintf("L=%d/K=%d/batch=%d/threads=%d", dim, k, batch, threads)
					b.Run(name+"/index", func(b *testing.B) {
						var nb nln.Neighbors
						rate(b, threads, batch, q, dim, func(q []float32) error {
							var err error
							nb, err = x.Search(b.Context(), q, k, nb)
							return err
						})
					})
					b.Run(name+"/flat", func(b *testing.B) {
						dist, ids := make([]float32, batch*k), make([]int64, batch*k)
						rate(b, threads, batch, q, dim, func(q []float32) error { return flat.Search(q, k, dist, ids) })
					})
				}
			}
		}
	}
}

// rate measures a search over batches of the queries in turn.
func rate(b *testing.B, threads, batch int, queries []float32, dim int, search func(q []float32) error) {
	if err := torch.SetThreads(threads); err != nil {
		b.Fatal(err)
	}
	step := batch * dim
	for i := 0; b.Loop(); i = (i + step) % (len(queries) - step + 1) / dim * dim {
		if err := search(queries[i : i+step]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(batch)*float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
