package engine

import (
	"fmt"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// benchScorer returns a scorer of 28x28 images with 32 latent values and 3 neighbours
// among 60,000 images, fewer with -short, whose model is not trained.
func benchScorer(b *testing.B) *nln.Scorer {
	b.Helper()
	n := 60000
	if testing.Short() {
		n = 3000
	}
	cfg, err := models.Preset("paper", models.ArchAE, grey28)
	if err != nil {
		b.Fatal(err)
	}
	cfg.Latent = 32
	m, err := models.New(cfg, coretest.Device(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	train := blobs(1, n, grey28)
	x := nln.NewExact(m.LatentDim())
	table, err := nln.NewTable(nln.Feature{Of: nln.OfReconstruction}, nln.CacheUint8, grey28.Len(), n)
	if err != nil {
		b.Fatal(err)
	}
	z, xhat := make([]float32, 1024*cfg.Latent), make([]float32, 1024*grey28.Len())
	for part := range train.Batches(1024) {
		z, xhat := z[:part.N*cfg.Latent], xhat[:len(part.Pix)]
		if err := m.Encode(b.Context(), part, z); err != nil {
			b.Fatal(err)
		}
		if err := m.Decode(b.Context(), z, xhat); err != nil {
			b.Fatal(err)
		}
		if err := x.Add(b.Context(), z); err != nil {
			b.Fatal(err)
		}
		if err := table.Append(xhat); err != nil {
			b.Fatal(err)
		}
	}
	conf := nln.DefaultConfig()
	conf.K, conf.MaxK, conf.Local.K, conf.Uncalibrated = 3, 3, 3, true
	spacing := make([]float32, n*conf.MaxK) // not looked for, which would take longer than the rest
	for i := range spacing {
		spacing[i] = 1
	}
	s, err := nln.NewScorer(m, x, nln.Kept{Tables: []*nln.Table{table}, Spacing: spacing}, conf)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkEngine scores 8-bit images: as many as keep the engine busy, and one.
func BenchmarkEngine(b *testing.B) {
	s := benchScorer(b)
	e, err := New(s, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.Close() })
	s = s.WithEngine(e)
	for _, n := range []int{s.BatchImages(), 1} {
		if testing.Short() {
			n = min(n, 512)
		}
		b.Run(fmt.Sprintf("images=%d", n), func(b *testing.B) {
			set := blobs(2, n, grey28)
			x := dataset.Bytes{Shape: set.Size, N: n, Pix: set.Pix, Scale: set.Scale}
			var scores []nln.Score
			score := func() {
				var err error
				if scores, err = s.ScoreBytes(b.Context(), x, scores[:0]); err != nil {
					b.Fatal(err)
				}
			}
			for range warmUp + 2 { // of both slots, until work is recorded
				score()
			}
			for b.Loop() {
				score()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
	if err := e.Unrecorded(); err != nil {
		b.Logf("not recorded: %v", err)
	}
}
