package models

import (
	"fmt"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// benchImages is a batch as scoring takes it.
const benchImages = 1024

// benchNetworks calls run for new models of both presets and sizes that are
// compared with PyTorch, and reports images/s; run takes benchImages through.
func benchNetworks(b *testing.B, run func(b *testing.B, m *Autoencoder)) {
	defer torch.SetThreads(0)
	for _, preset := range []string{"paper", "code"} {
		for _, size := range []dataset.Shape{grey28, color32} {
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("%s/%dx%dx%d/threads=%d", preset, size.H, size.W, size.C, threads), func(b *testing.B) {
					if err := torch.SetThreads(threads); err != nil {
						b.Fatal(err)
					}
					b.SetBytes(int64(4 * benchImages * size.Len()))
					run(b, newModel(b, config(b, preset, size)))
					b.ReportMetric(benchImages*float64(b.N)/b.Elapsed().Seconds(), "images/s")
				})
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	benchNetworks(b, func(b *testing.B, m *Autoencoder) {
		set := waves(benchImages, m.Shape())
		x := set.Gather(identity(benchImages), make([]float32, len(set.Pix)))
		z := make([]float32, benchImages*m.LatentDim())
		for b.Loop() {
			if err := m.Encode(b.Context(), x, z); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	benchNetworks(b, func(b *testing.B, m *Autoencoder) {
		z := make([]float32, benchImages*m.LatentDim())
		for i := range z {
			z[i] = float32(i%7) - 3
		}
		x := make([]float32, benchImages*m.Shape().Len())
		for b.Loop() {
			if err := m.Decode(b.Context(), z, x); err != nil {
				b.Fatal(err)
			}
		}
	})
}
