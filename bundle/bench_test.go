package bundle

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

// BenchmarkScore scores batches with a model and an index of the core, of few
// images: for large ones see BenchmarkSearch of package faissindex.
func BenchmarkScore(b *testing.B) {
	f := fit(b, nln.CacheUint8)
	defer f.Close()
	defer torch.SetThreads(0)
	set := images(b, 40)
	for _, n := range []int{1, 256} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("batch=%d/threads=%d", n, threads), func(b *testing.B) {
				if err := torch.SetThreads(threads); err != nil {
					b.Fatal(err)
				}
				ids := make([]int, n)
				for i := range ids {
					ids[i] = i
				}
				x := set.Gather(ids, make([]float32, n*set.Size.Len()))
				var scores []nln.Score
				for b.Loop() {
					var err error
					if scores, err = f.Scorer.Score(b.Context(), x, scores[:0]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "images/s")
			})
		}
	}
}

// BenchmarkOpen opens a bundle whose files are in the page cache.
func BenchmarkOpen(b *testing.B) {
	f := fit(b, nln.CacheUint8)
	defer f.Close()
	path := filepath.Join(b.TempDir(), "b.nln")
	if err := f.Save(path, false); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		o, err := Open(path, torch.CPU)
		if err != nil {
			b.Fatal(err)
		}
		o.Close()
	}
}
