package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/torchindex"
)

// search measures exact search in batches, K=3.
func (b *bench) search(ctx context.Context) error {
	entries, batch := []int{60_000, 1_000_000, 10_000_000}, 4096
	if b.small {
		entries, batch = []int{2000}, 64
	}
	for _, dim := range []int{32, 128} {
		queries := vectors(batch, dim, 2)
		for _, n := range entries {
			if err := b.searchAmong(ctx, n, dim, queries); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) searchAmong(ctx context.Context, n, dim int, queries []float32) error {
	x, err := torchindex.New(b.dev, dim)
	if err != nil {
		return err
	}
	defer x.Close()
	if err := x.Add(ctx, vectors(n, dim, 1)); err != nil {
		return err
	}
	var nb nln.Neighbors
	ours := func() (float64, error) {
		return b.rate(len(queries)/dim, func() (err error) {
			nb, err = x.Search(ctx, queries, 3, nb)
			return err
		})
	}
	r, err := b.compare(fmt.Sprintf("N=%d, L=%d, K=3, batches of %d", n, dim, len(queries)/dim), ours,
		map[string]any{"task": "search", "entries": n, "latent": dim, "batch": len(queries) / dim, "k": 3})
	b.report.Search = append(b.report.Search, r)
	return err
}

// vectors returns n vectors of normal values.
func vectors(n, dim int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	v := make([]float32, n*dim)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// rate returns the units a second of f, which does some.
func (b *bench) rate(units int, f func() error) (float64, error) {
	for range 3 { // the libraries load and tune themselves, and work is recorded
		if err := f(); err != nil {
			return 0, err
		}
	}
	done, start := 0, time.Now()
	for {
		if err := f(); err != nil {
			return 0, err
		}
		done += units
		if seconds := time.Since(start).Seconds(); seconds >= b.seconds {
			return float64(done) / seconds, nil
		}
	}
}
