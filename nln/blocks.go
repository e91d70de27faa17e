package nln

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// forBlocks calls f on consecutive blocks of at most size of n items, from
// several goroutines. No result may depend on which goroutine ran a block. It
// returns the context's error, after which some blocks have not been run.
func forBlocks(ctx context.Context, n, size int, f func(lo, hi int)) error {
	blocks := (n + size - 1) / size
	var next atomic.Int64
	work := func() {
		for ctx.Err() == nil {
			b := int(next.Add(1)) - 1
			if b >= blocks {
				return
			}
			f(b*size, min((b+1)*size, n))
		}
	}
	workers := min(runtime.GOMAXPROCS(0), blocks)
	if workers < 2 {
		work()
		return ctx.Err()
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(work)
	}
	wg.Wait()
	return ctx.Err()
}

// resize returns s with length n, keeping its memory where that suffices; the
// values are whatever was there.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// notFinite returns the position of the first NaN or infinity, or -1.
func notFinite(v []float32) int {
	for i, f := range v {
		if f-f != 0 { // NaN unless f is finite
			return i
		}
	}
	return -1
}
