package models

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
)

// onDevice returns a tolerance for sums in float32 that holds on the CPU, for the device
// of the tests. On a CUDA device it is ten times as large: cuDNN computes some
// convolutions by transforms, whose sums have a digit less, and chooses by the batch.
func onDevice(t testing.TB, tol float64) float64 {
	if coretest.Device(t) == torch.CPU {
		return tol
	}
	return 10 * tol
}

// BenchmarkTrainDevice trains on as many images as MNIST has, on the device of the tests,
// from where steps are recorded on.
func BenchmarkTrainDevice(b *testing.B) {
	set := &dataset.Set{Size: grey28, Pix: make([]uint8, 60000*grey28.Len())}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range set.Pix {
		set.Pix[i] = uint8(rng.Uint32())
	}
	for _, filters := range []string{FiltersConst, FiltersUp} {
		for _, batch := range []int{128, 1024} {
			b.Run(fmt.Sprintf("%s/batch=%d", filters, batch), func(b *testing.B) {
				cfg := config(b, "paper", grey28)
				cfg.Filters, cfg.Batch, cfg.Steps = filters, batch, 1<<40
				m, err := New(cfg, coretest.Device(b))
				if err != nil {
					b.Fatal(err)
				}
				defer m.Close()
				benchTrainer(b, m, set)
			})
		}
	}
}

func benchTrainer(b *testing.B, m *Autoencoder, set Images) {
	t, err := openTrainer(m, set, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer t.close()
	advance := func() {
		if err := t.advance(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	for t.step <= 2*eagerSteps || time.Since(t.start) < time.Second {
		advance()
	}
	seen := t.seen
	for b.Loop() { // a step on the CPU, a window of them elsewhere
		advance()
	}
	b.ReportMetric(float64(t.seen-seen)/b.Elapsed().Seconds(), "images/s")
}
