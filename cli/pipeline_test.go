package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

var pipelineShape = dataset.Shape{C: 1, H: 4, W: 4}

// numbered is a pipeline of n images, each filled with the two bytes of its number, of which fails
// chooses some that cannot be read. A score is the number that it was made from,
// and rows gets what is written.
func numbered(n int, fails func(i int) bool, rows *[]string) *pipeline {
	name := func(i int) string { return fmt.Sprint("image ", i) }
	reader := func() func(i int, dst []uint8) error {
		return func(i int, dst []uint8) error {
			for k := range dst {
				dst[k] = uint8(i >> (k % 2 * 8))
			}
			if fails(i) {
				return fmt.Errorf("%d is bad", i)
			}
			return nil
		}
	}
	return &pipeline{
		sources: only(imageSource{n: n, name: name, reader: reader}), shape: pipelineShape, scale: dataset.Scale255, size: 10, readers: 3,
		score: func(_ context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
			for i := range x.N {
				low, high := x.At(i)[0], x.At(i)[1]
				for k, v := range x.At(i) {
					if v != x.At(i)[k%2] {
						return dst, errors.New("an image is mixed")
					}
				}
				dst = append(dst, nln.Score{Score: math.Round(255*float64(low)) + 256*math.Round(255*float64(high))})
			}
			return dst, nil
		},
		write: func(name string, s *nln.Score, failed error) error {
			if failed != nil {
				*rows = append(*rows, fmt.Sprint(name, ": ", failed))
			} else {
				*rows = append(*rows, fmt.Sprint(name, ": ", s.Score))
			}
			return nil
		},
		wrote: func(*imageSource, int) error { return nil },
	}
}

func none(int) bool { return false }

// noLeak fails unless as many goroutines run in the end as in the beginning.
func noLeak(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for range 200 { // the last ones may be on their way out
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
	})
}

// Rows are those of a plain loop, whatever the number of images and readers, and
// whichever images cannot be read.
func TestPipelineKeepsOrder(t *testing.T) {
	noLeak(t)
	const seed = 3
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{0, 1, 7, 8, 9, 10, 11, 39, 40, 41, 500} {
		for _, share := range []float64{0, .3, 1} {
			bad := make([]bool, n)
			var want, have []string
			for i := range n {
				if bad[i] = rng.Float64() < share; bad[i] {
					want = append(want, fmt.Sprintf("image %d: %d is bad", i, i))
				} else {
					want = append(want, fmt.Sprintf("image %d: %d", i, i))
				}
			}
			p := numbered(n, func(i int) bool {
				runtime.Gosched()
				return bad[i]
			}, &have)
			p.readers = 1 + rng.IntN(5)
			if score := p.score; n%2 == 0 {
				p.scoreBytes = func(ctx context.Context, x dataset.Bytes, dst []nln.Score) ([]nln.Score, error) {
					return score(ctx, x.Images(make([]float32, len(x.Pix))), dst)
				}
				p.score = nil
			}
			if err := p.run(t.Context()); err != nil {
				t.Fatalf("seed %d, %d images: %v", seed, n, err)
			}
			if !slices.Equal(have, want) {
				t.Fatalf("seed %d, %d images, %.1f bad: rows %q, want %q", seed, n, share, have, want)
			}
		}
	}
}

// several yields the images of a pipeline as sources of so many each, then an error or
// nil.
func several(p *pipeline, sizes []int, end error) iter.Seq2[imageSource, error] {
	var all imageSource
	for all = range p.sources {
	}
	return func(yield func(imageSource, error) bool) {
		first := 0
		for _, n := range sizes {
			part := all.from(first)
			part.n = n
			if first += n; !yield(part, nil) {
				return
			}
		}
		if end != nil {
			yield(imageSource{}, end)
		}
	}
}

// Images of several sources keep their order, no batch has those of two, and what came
// before an error of a source is written.
func TestPipelineOfSeveralSources(t *testing.T) {
	noLeak(t)
	sizes := []int{7, 0, 10, 25, 1, 0}
	for _, end := range []error{nil, errTest} {
		var rows, want []string
		var batches, wantBatches, written []int
		p := numbered(43, none, &rows)
		p.sources = several(p, sizes, end)
		score := p.score
		p.score = func(ctx context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
			batches = append(batches, x.N)
			return score(ctx, x, dst)
		}
		p.wrote = func(of *imageSource, done int) error {
			if done == of.n {
				written = append(written, of.n)
			}
			return nil
		}
		if err := p.run(t.Context()); err != end {
			t.Errorf("error %v, want %v", err, end)
		}
		for i := range 43 {
			want = append(want, fmt.Sprintf("image %d: %d", i, i))
		}
		if wantBatches = []int{7, 10, 10, 10, 5, 1}; !slices.Equal(rows, want) || !slices.Equal(batches, wantBatches) {
			t.Errorf("rows %q of batches of %v, want %q of %v", rows, batches, want, wantBatches)
		}
		if !slices.Equal(written, []int{7, 10, 25, 1}) {
			t.Errorf("sources of %v were written", written)
		}
	}
}

// A run that is stopped says how far it was in which source.
func TestPipelineStopsBetweenSources(t *testing.T) {
	for _, c := range []struct {
		after int // images written
		want  string
	}{{10, "stopped after 10 of 25 images"}, {25, "stopped after 0 of 12 images"}, {35, "stopped after 10 of 12 images"}} {
		ctx, cancel := context.WithCancel(t.Context())
		var rows []string
		p := numbered(37, none, &rows)
		p.sources = several(p, []int{25, 12}, nil)
		p.wrote = func(*imageSource, int) error {
			if len(rows) == c.after {
				cancel()
				<-time.After(time.Millisecond) // no batch is scored after that
			}
			return nil
		}
		score := p.score
		p.score = func(ctx context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
			if first := int(math.Round(255 * float64(x.At(0)[0]))); first >= c.after {
				<-ctx.Done()
			}
			return score(ctx, x, dst)
		}
		if err := p.run(ctx); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), c.want+":") || len(rows) != c.after {
			t.Errorf("%d rows and error %v, want %d and %q", len(rows), err, c.after, c.want)
		}
		cancel()
	}
}

// The next source is found and read while the images of one are scored.
func TestPipelineReadsTheNextSourceMeanwhile(t *testing.T) {
	noLeak(t)
	var rows []string
	next := make(chan struct{})
	p := numbered(20, func(i int) bool {
		if i == 10 {
			close(next)
		}
		return false
	}, &rows)
	p.sources = several(p, []int{10, 10}, nil)
	score := p.score
	p.score = func(ctx context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
		select {
		case <-next:
			return score(ctx, x, dst)
		case <-time.After(10 * time.Second):
			return dst, errors.New("nothing of the second source is read before the first is scored")
		}
	}
	if err := p.run(t.Context()); err != nil || len(rows) != 20 {
		t.Errorf("%d rows, error %v", len(rows), err)
	}
}

// However many images are left, readers that take the same time for each of them end
// within that of two images of each other.
func TestBlockSize(t *testing.T) {
	for readers := 1; readers <= 20; readers++ {
		for n := 1; n <= 300; n++ {
			busy := make([]int, readers) // until when, in images
			for left := n; left > 0; {
				k := blockSize(left, readers)
				if k < 1 || k > min(left, readBlock) {
					t.Fatalf("blockSize(%d, %d) = %d", left, readers, k)
				}
				slices.Sort(busy)
				busy[0] += k
				left -= k
			}
			if most := slices.Max(busy); most > (n+readers-1)/readers+1 {
				t.Fatalf("%d readers take the time of %d images for %d", readers, most, n)
			}
		}
	}
}

// What is read but not yet written never exceeds the batches in flight.
func TestPipelineIsBounded(t *testing.T) {
	noLeak(t)
	var rows []string
	var read, written, most atomic.Int64
	p := numbered(2000, func(int) bool {
		ahead := read.Add(1) - written.Load()
		for m := most.Load(); ahead > m && !most.CompareAndSwap(m, ahead); m = most.Load() {
		}
		return false
	}, &rows)
	write := p.write
	p.write = func(name string, s *nln.Score, failed error) error {
		if written.Load()%100 == 0 {
			time.Sleep(time.Millisecond) // a slow consumer
		}
		defer written.Add(1)
		return write(name, s, failed)
	}
	if err := p.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := most.Load(); m > inFlight*int64(p.size) || m <= int64(p.size) {
		t.Errorf("%d images ahead of the rows, want more than a batch and at most %d", m, inFlight*p.size)
	}
}

// The heap does not grow with the number of images.
func TestPipelineMemoryIsFlat(t *testing.T) {
	heap := func(n int) (most uint64) {
		rows := []string{}
		p := numbered(n, none, &rows)
		p.write = func(string, *nln.Score, error) error { return nil }
		p.wrote = func(_ *imageSource, done int) error {
			if done%(n/10) == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
			return nil
		}
		if err := p.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return most
	}
	heap(1000)
	const slack = 256 << 10 // bytes that the runtime may have come to hold
	few, many := heap(1000), heap(100_000)
	if many > few+slack {
		t.Errorf("heap of %d bytes with 100,000 images, of %d with 1,000", many, few)
	}
}

var errTest = errors.New("test")

// An error of any stage, and the end of the context at any time, end the run
// with that error, and what was written is the beginning of the rows.
func TestPipelineStops(t *testing.T) {
	noLeak(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	for name, change := range map[string]func(p *pipeline){
		"score": func(p *pipeline) {
			score := p.score
			p.score = func(ctx context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
				if calls++; calls == 4 {
					return dst, errTest
				}
				return score(ctx, x, dst)
			}
		},
		"write": func(p *pipeline) {
			write := p.write
			p.write = func(name string, s *nln.Score, failed error) error {
				if name == "image 25" {
					return errTest
				}
				return write(name, s, failed)
			}
		},
		"flush": func(p *pipeline) {
			p.wrote = func(_ *imageSource, done int) error {
				if done == 30 {
					return errTest
				}
				return nil
			}
		},
	} {
		var rows []string
		p := numbered(1000, none, &rows)
		change(p)
		if err := p.run(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("%s: error %v", name, err)
		}
		if len(rows) < 25 || len(rows) > 30 || rows[24] != "image 24: 24" {
			t.Errorf("%s: %d rows", name, len(rows))
		}
	}
	for _, at := range []int{0, 1, 9, 10, 57} {
		ctx, cancel := context.WithCancel(ctx)
		var rows []string
		p := numbered(1000, func(i int) bool {
			if i == at {
				cancel()
			}
			return false
		}, &rows)
		if err := p.run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %d: error %v", at, err)
		}
		for i, row := range rows {
			if row != fmt.Sprintf("image %d: %d", i, i) {
				t.Errorf("cancelled at %d: row %d is %q", at, i, row)
			}
		}
		cancel()
	}
}

func TestBatchSize(t *testing.T) {
	for _, c := range []struct {
		shape dataset.Shape
		want  int
	}{{dataset.Shape{C: 1, H: 28, W: 28}, 256}, {dataset.Shape{C: 3, H: 128, W: 128}, 42}, {dataset.Shape{C: 3, H: 1024, W: 1024}, 1}, {dataset.Shape{C: 3, H: 8192, W: 8192}, 1}} {
		if n := batchSize(c.shape); n != c.want {
			t.Errorf("batchSize(%v) = %d, want %d", c.shape, n, c.want)
		}
	}
}
