package models

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// BenchmarkTrainBesideBusyGoroutines trains with two threads where two goroutines
// have work of their own, with one where one has, and alone. What the threads do
// while they wait for each other decides how much slower it is: run it with
// OMP_WAIT_POLICY=active and GOMP_SPINCOUNT=300000 (libgomp's own) as well.
func BenchmarkTrainBesideBusyGoroutines(b *testing.B) {
	defer torch.SetThreads(0)
	for _, c := range []struct {
		name          string
		threads, busy int
	}{{"threads=2/busy=0", 2, 0}, {"threads=2/busy=2", 2, 2}, {"threads=1/busy=1", 1, 1}} {
		b.Run(c.name, func(b *testing.B) {
			if err := torch.SetThreads(c.threads); err != nil {
				b.Fatal(err)
			}
			cfg := config(b, "paper", grey28)
			cfg.Batch, cfg.Steps = 128, 1
			m, set := newModel(b, cfg), waves(512, grey28)
			t, err := newTrainer(m, set, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer t.close()
			var stop atomic.Bool
			var wg sync.WaitGroup
			defer wg.Wait()
			defer stop.Store(true)
			for range c.busy {
				wg.Go(func() {
					for x := 1; !stop.Load(); x = x*3 + 1 {
					}
				})
			}
			for b.Loop() {
				if _, err := t.train(identity(128)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
