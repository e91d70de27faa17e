package batch

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/internal/resident"
)

// BenchmarkShards takes a plan of 100,000 shards of no work through an embedded queue
// that syncs each message, into a folder: what is measured is what a shard costs
// besides its work. NLN_BENCH_SHARDS is another number.
func BenchmarkShards(b *testing.B) {
	n := 100_000
	if text := os.Getenv("NLN_BENCH_SHARDS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		began := time.Now()
		lap := func(what string) {
			b.ReportMetric(float64(n)/time.Since(began).Seconds(), what+"/s")
			b.Logf("%s: %d in %v", what, n, time.Since(began).Round(time.Millisecond))
			began = time.Now()
		}
		st, p := makePlan(b, b.TempDir(), n, 1)
		lap("planned")
		dir := b.TempDir()
		q := embed(b, dir)
		if queued, err := q.Submit(b.Context(), st, p); err != nil || queued != n {
			b.Fatal(queued, err)
		}
		lap("queued")
		size := sizeOf(b, dir)
		workers := make([]WorkOptions, 8)
		for i := range workers {
			workers[i] = WorkOptions{Open: opener(&stub{})}
		}
		if queued, err := q.Submit(b.Context(), st, p); err != nil || queued != 0 {
			b.Fatal(queued, err)
		}
		lap("queued-again")
		if _, err := q.Run(b.Context(), st, p, workers...); err != nil {
			b.Fatal(err)
		}
		lap("done")
		if s, err := Finalize(b.Context(), st, p); err != nil || s.Rows != int64(n) {
			b.Fatal(s, err)
		}
		lap("finalized")
		runtime.GC()
		b.Logf("the queue's files: %d bytes once all is queued, %d at the end; the process: %d MB at most", size, sizeOf(b, dir), resident.Peak()>>20)
		q.Close()
	}
}

func sizeOf(b *testing.B, dir string) int64 {
	total := int64(0)
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return total
}
