package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// Kinds of work. Any other kind is one of faissindex.
const (
	exactKind  = "exact search"
	encodeKind = "encoding"
	trainKind  = "training"
	scoreKind  = "scoring"

	latentsKind = "" // no work: has the latents of some size made, see readLatents
)

// least is how many seconds a rate is measured for, one call at least.
const least = .5

func (m measurement) measure(ctx context.Context, dir string) (results.Point, error) {
	p := results.Point{Axis: m.Axis, Kind: m.Kind, X: m.X}
	runtime.GOMAXPROCS(m.Threads)
	if err := torch.SetThreads(m.Threads); err != nil {
		return p, err
	}
	if err := torch.Load(); err != nil {
		return p, err
	}
	work := map[string]func(context.Context, string, *results.Point) error{
		encodeKind: m.encoding, trainKind: m.training, scoreKind: m.scoring,
		latentsKind: func(ctx context.Context, dir string, _ *results.Point) error {
			_, err := readLatents(ctx, dir, m.L)
			return err
		}}[m.Kind]
	switch {
	case m.Build:
		work = m.building
	case work == nil:
		work = m.searching
	}
	return p, work(ctx, dir, &p)
}

// rate returns units a second of f, which does n at a time: the best of several
// spans, which other work on the machine disturbs least.
func rate(n int, f func() error) (best float64, err error) {
	const spans = 3
	if err := f(); err != nil { // warm
		return 0, err
	}
	for range spans {
		done, start := 0, time.Now()
		for done == 0 || time.Since(start).Seconds() < least/spans {
			if err := f(); err != nil {
				return 0, err
			}
			done += n
		}
		best = max(best, float64(done)/time.Since(start).Seconds())
	}
	return best, nil
}

// indexFile is where a measurement of Build leaves its index for the next process.
const indexFile = "growth.index"

// building makes an index of an approximate kind, with the effort for a recall of
// 0.99 over other queries than will be timed, and leaves it in a file: what was
// needed to make it stays with this process.
func (m measurement) building(ctx context.Context, dir string, p *results.Point) error {
	l, err := readLatents(ctx, dir, m.L)
	if err != nil {
		return err
	}
	x, err := exactIndex(ctx, m.L, l.draw(m.N))
	if err != nil {
		return err
	}
	defer x.Close()
	start := time.Now()
	c, err := x.Choose(ctx, faissindex.Kind(m.Kind), l.queries[min(m.Batch*m.L, len(l.queries)/2):], m.K)
	if err != nil {
		return err
	}
	p.Build, p.Recall = time.Since(start).Seconds(), c.Recall
	return x.Write(filepath.Join(dir, indexFile))
}

func exactIndex(ctx context.Context, dim int, vectors []float32) (*faissindex.Index, error) {
	x, err := faissindex.New(dim)
	if err != nil {
		return nil, err
	}
	return x, x.Add(ctx, vectors)
}

// searching measures an index over vectors like latents.
func (m measurement) searching(ctx context.Context, dir string, p *results.Point) error {
	l, err := readLatents(ctx, dir, m.L)
	if err != nil {
		return err
	}
	var vectors []float32
	if m.Kind == exactKind {
		vectors = l.draw(m.N)
	}
	queries := l.queries[:min(m.Batch*m.L, len(l.queries))]
	if m.N > 1e6 { // or a call would take a minute
		queries = queries[:len(queries)/4/m.L*m.L]
	}
	before, start := residentMB(), time.Now()
	var x *faissindex.Index
	if m.Kind == exactKind {
		x, err = exactIndex(ctx, m.L, vectors)
	} else {
		x, err = faissindex.Read(filepath.Join(dir, indexFile))
	}
	if err != nil {
		return err
	}
	defer x.Close()
	var found nln.Neighbors
	search := func(q []float32) error { found, err = x.Search(ctx, q, m.K, found); return err }
	if err := search(queries[:m.L]); err != nil { // the exact index packs its vectors
		return err
	}
	p.Build, p.MB = time.Since(start).Seconds(), residentMB()-before
	runtime.KeepAlive(vectors) // or their memory, given back, would count against the index
	p.Rate, err = rate(len(queries)/m.L, func() error { return search(queries) })
	return err
}

// network returns a new model for images of the measurement's side, and images.
func (m measurement) network() (*models.Autoencoder, *dataset.Set, error) {
	size := dataset.Shape{C: 1, H: m.Side, W: m.Side}
	cfg, err := models.Preset("paper", models.ArchAE, size)
	if err != nil {
		return nil, nil, err
	}
	cfg.Batch, cfg.Steps = 64, 12
	set := &dataset.Set{Name: "waves", Size: size, Pix: make([]uint8, 256*size.Len()), Scale: dataset.Scale255}
	for i := range set.Pix {
		set.Pix[i] = uint8(i * i >> 8) // any content will do: convolutions take as long
	}
	model, err := models.New(cfg, torch.CPU)
	return model, set, err
}

func (m measurement) encoding(ctx context.Context, _ string, p *results.Point) error {
	model, set, err := m.network()
	if err != nil {
		return err
	}
	defer model.Close()
	x := set.Gather(first(set.Len()), make([]float32, len(set.Pix)))
	z := make([]float32, set.Len()*model.LatentDim())
	before := residentMB()
	p.Rate, err = rate(set.Len(), func() error { return model.Encode(ctx, x, z) })
	p.MB = residentMB() - before
	return err
}

func (m measurement) training(ctx context.Context, _ string, p *results.Point) error {
	model, set, err := m.network()
	if err != nil {
		return err
	}
	defer model.Close()
	before, last := residentMB(), time.Now()
	_, err = models.Train(ctx, model, set, models.Options{Progress: func(models.Progress) {
		p.Rate = max(p.Rate, float64(model.Config().Batch)/time.Since(last).Seconds())
		last = time.Now()
	}})
	p.MB = residentMB() - before
	return err
}

// scoring measures the whole of it with the folder's bundle.
func (m measurement) scoring(ctx context.Context, dir string, p *results.Point) error {
	meta, err := workload.ReadMeta(dir)
	if err != nil {
		return err
	}
	images, err := workload.ReadFloats(dir, workload.QueryFile)
	if err != nil {
		return err
	}
	before := residentMB()
	b, err := bundle.Open(filepath.Join(dir, workload.BundleDir), torch.CPU)
	if err != nil {
		return err
	}
	defer b.Close()
	size := dataset.Shape{C: meta.Shape[0], H: meta.Shape[1], W: meta.Shape[2]}
	x := dataset.Images{Shape: size, N: m.Batch, Pix: images[:m.Batch*size.Len()]}
	var scores []nln.Score
	p.Rate, err = rate(m.Batch, func() (err error) { scores, err = b.Scorer.Score(ctx, x, scores[:0]); return err })
	p.MB = residentMB() - before
	return err
}

// first returns 0 to n-1.
func first(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

// residentMB returns this process's memory, after what Go no longer needs is
// given back.
func residentMB() float64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var all, resident float64
	if _, err := fmt.Sscan(string(text), &all, &resident); err != nil {
		return 0
	}
	return resident * float64(os.Getpagesize()) / 1e6
}
