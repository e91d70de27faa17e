package faissindex

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/nln"
)

// BenchmarkKinds finds where exact search should give way: queries a second of
// processor time, recall, and the seconds that a build takes, for growing numbers
// of vectors. NLN_BUNDLE=DIR takes the latents of a bundle, without which they are
// made up; see grow for how there come to be more.
func BenchmarkKinds(b *testing.B) {
	const queries, k = 1000, 10
	base, q := benchLatents(b, queries)
	for _, n := range []int{10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000} {
		b.Run(fmt.Sprintf("L=%d/N=%d", base.Dim(), n), func(b *testing.B) {
			v := grow(b, base, n)
			exact := newIndex(b, base.Dim(), v)
			measure(b, exact, q, k, nil)
			for _, kind := range approximate {
				b.Run(string(kind), func(b *testing.B) {
					start := processorTime()
					x, c, err := exact.try(b.Context(), kind, q, k)
					if err != nil {
						b.Fatal(err)
					}
					defer x.Close()
					took := processorTime() - start
					measure(b, x, q, k, func(b *testing.B) {
						b.ReportMetric(c.Recall, "recall")
						b.ReportMetric(float64(c.Effort), "effort")
						b.ReportMetric(took.Seconds(), "build-s")
					})
				})
			}
		})
	}
}

// measure searches for one query at a time and for all at once.
func measure(b *testing.B, x *Index, q []float32, k int, more func(*testing.B)) {
	dim := x.Dim()
	for _, batch := range []int{1, len(q) / dim} {
		b.Run(fmt.Sprintf("%s/batch=%d", x.Kind(), batch), func(b *testing.B) {
			nb, err := x.Search(b.Context(), q[:dim], k, nln.Neighbors{}) // packs the vectors
			if err != nil {
				b.Fatal(err)
			}
			start, at := processorTime(), 0
			for b.Loop() {
				if nb, err = x.Search(b.Context(), q[at*dim:(at+batch)*dim], k, nb); err != nil {
					b.Fatal(err)
				}
				at = (at + batch) % (len(q) / dim)
			}
			b.ReportMetric(float64(batch)*float64(b.N)/(processorTime()-start).Seconds(), "queries/cpu-s")
			if more != nil {
				more(b)
			}
		})
	}
}

// benchLatents returns an index of latents and some queries that are not in it.
func benchLatents(b *testing.B, queries int) (*Index, []float32) {
	const n, dim = 50_000, 32
	dir := os.Getenv("NLN_BUNDLE")
	if dir == "" {
		rng := rand.New(rand.NewPCG(1, 2))
		return newIndex(b, dim, latents(rng, n, dim)), latents(rng, queries, dim)
	}
	all, err := Read(filepath.Join(dir, "index.faiss"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { all.Close() })
	v := all.Vectors()
	cut := queries * all.Dim()
	return newIndex(b, all.Dim(), v[cut:]), v[:cut]
}

// grow returns n vectors: those of x, and where they are too few further ones
// between a vector and one of its five nearest, moved by a little of the distance
// to the nearest, so that there are more of them where they were and as alike.
// Noise in all directions would make them less like latents and easier to tell
// apart, and uniform vectors are like nothing that an encoder gives.
func grow(b *testing.B, x *Index, n int) []float32 {
	const near = 6 // itself, and five
	dim, v := x.Dim(), x.Vectors()
	nb, err := x.Search(b.Context(), v, near, nln.Neighbors{})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	out := append(make([]float32, 0, n*dim), v[:min(len(v), n*dim)]...)
	for len(out) < n*dim {
		i := rng.IntN(x.Len())
		j := int(nb.IDs[i*near+1+rng.IntN(near-1)])
		f, noise := rng.Float32(), nb.Dist[i*near+1]/float32(10*dim)
		for d := range dim {
			at := v[i*dim+d]
			out = append(out, at+f*(v[j*dim+d]-at)+noise*float32(rng.NormFloat64()))
		}
	}
	return out
}
