package models

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// BenchmarkTrainBesideBusyGoroutines trains with two threads where two goroutines
// have work of their own, with one where one has, and alone. What the threads do
// while they wait for each other decides how much slower it is: run it with
// OMP_WAIT_POLICY=active and GOMP_SPINCOUNT=300000 (libgomp's own) as well. The
// processor time is that of the training alone, which other programs on the machine
// disturb less than the clock.
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
			t, err := newTrainer(m, set, Options{way: stepAtOnce})
			if err != nil {
				b.Fatal(err)
			}
			defer t.close()
			spent := processorTime(b, syscall.RUSAGE_SELF)
			stop := beBusy(b, c.busy)
			for b.Loop() {
				if _, err := t.train(identity(128)); err != nil {
					b.Fatal(err)
				}
			}
			busy := stop()
			spent = processorTime(b, syscall.RUSAGE_SELF) - spent - busy
			b.ReportMetric(spent.Seconds()*1e3/float64(b.N), "cpu-ms/op")
		})
	}
}

// beBusy keeps n goroutines at work, each on a thread of its own, until the
// function that it returns is called, which says how much processor time they took.
func beBusy(b *testing.B, n int) (stop func() time.Duration) {
	var ended atomic.Bool
	var spent atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			start := processorTime(b, rusageThread)
			for x := 1; !ended.Load(); x = x*3 + 1 {
			}
			spent.Add(int64(processorTime(b, rusageThread) - start))
		})
	}
	return func() time.Duration {
		ended.Store(true)
		wg.Wait()
		return time.Duration(spent.Load())
	}
}

// rusageThread is RUSAGE_THREAD of Linux, which package syscall lacks.
const rusageThread = 1

func processorTime(b *testing.B, who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Error(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
