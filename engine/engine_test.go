package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/coretest"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// atEnd fails the test if it ends with more objects of the core than it began with.
func atEnd(t *testing.T) {
	t.Helper()
	if err := torch.Load(); err != nil {
		t.Fatal(err)
	}
	before := torch.LiveHandles()
	t.Cleanup(func() {
		if n := torch.LiveHandles(); n != before {
			t.Errorf("%d objects of the core live, %d before the test", n, before)
		}
	})
}

var grey28 = dataset.Shape{C: 1, H: 28, W: 28}

// blobs returns n images of a few blurred spots each.
func blobs(seed uint64, n int, shape dataset.Shape) *dataset.Set {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &dataset.Set{Name: "blobs", Size: shape, Pix: make([]uint8, n*shape.Len())}
	for i := range n {
		for c := range shape.C {
			y0, x0, r := rng.Float64()*float64(shape.H), rng.Float64()*float64(shape.W), 3+rng.Float64()*6
			for y := range shape.H {
				for x := range shape.W {
					d := math.Hypot(float64(y)-y0, float64(x)-x0)
					s.Image(i)[(c*shape.H+y)*shape.W+x] = uint8(250*math.Exp(-d*d/r/r)) + uint8(rng.IntN(6))
				}
			}
		}
	}
	return s
}

// A fixture is how the scorer of a test is fitted.
type fixture struct {
	preset, arch string
	shape        dataset.Shape
	cfg          nln.Config
	indexed      int
	train        *dataset.Set // nil: blobs
	views        int
}

func defaults() fixture {
	cfg := nln.DefaultConfig()
	cfg.Batch = 64
	return fixture{"paper", models.ArchAE, grey28, cfg, 200, nil, 0}
}

// fit returns a scorer over an untrained model.
func (f fixture) fit(t testing.TB) *nln.Scorer {
	t.Helper()
	cfg, err := models.Preset(f.preset, f.arch, f.shape)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Views = f.views
	m, err := models.New(cfg, coretest.Device(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if f.train == nil {
		f.train = blobs(1, f.indexed, f.shape)
	}
	var calib dataset.Source = blobs(2, 30, f.shape)
	if f.cfg.Patched.Grid.Patch > 0 {
		calib = blobs(2, 10, f.cfg.Patched.Image)
	}
	s, err := nln.Fit(context.Background(), m, nln.NewExact(m.LatentDim()), f.train, calib, f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newTestEngine(t testing.TB, s *nln.Scorer, batch int) *Engine {
	t.Helper()
	e, err := New(s, Options{Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), e.Close(), e.Unrecorded()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// alike says whether two numbers agree within Tolerance, where values are as large as
// scale and differences of nearly equal ones cancel.
func alike(a, b, scale float64) bool {
	return math.Abs(a-b) <= Tolerance*math.Max(math.Abs(a), math.Abs(b))+1e-6*scale
}

func sameColumn(t *testing.T, what string, got, want []float64) {
	t.Helper()
	scale := 0.
	for _, v := range want {
		scale = max(scale, math.Abs(v))
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !alike(got[i], want[i], scale) {
			t.Fatalf("%s: value %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// sameParts compares what an engine computed with what the scorer does without.
func sameParts(t *testing.T, got, want nln.Parts) {
	t.Helper()
	if got.K != want.K || got.Len() != want.Len() || !slices.Equal(got.SpaceNames(), want.SpaceNames()) {
		t.Fatalf("%d images with K %d in %q, want %d with %d in %q", got.Len(), got.K, got.SpaceNames(), want.Len(), want.K, want.SpaceNames())
	}
	if err := got.Check(); err != nil {
		t.Fatal(err)
	}
	sameColumn(t, "recon", got.Recon, want.Recon)
	sameColumn(t, "distance", got.Distance, want.Distance)
	moved := 0
	for i := range want.IDs {
		if got.IDs[i] == want.IDs[i] {
			continue
		}
		moved++
		if !alike(float64(got.Dist[i]), float64(want.Dist[i]), 1) {
			t.Fatalf("image %d, neighbour %d: %d at %v, want %d at %v", i/want.K, i%want.K, got.IDs[i], got.Dist[i], want.IDs[i], want.Dist[i])
		}
	}
	if moved > len(want.IDs)/50 {
		t.Errorf("%d of %d neighbours have changed places", moved, len(want.IDs))
	}
	if moved == 0 { // another order of neighbours means other errors over the first k
		sameColumn(t, "spacing", got.Spacing, want.Spacing)
		for i, space := range want.Spaces {
			sameColumn(t, space.Space, got.Spaces[i].Mean, space.Mean)
		}
	}
	for i, space := range want.Spaces {
		sameColumn(t, space.Space+" own", got.Spaces[i].Own, space.Own)
	}
}

// compare scores images both ways, as values and as bytes.
func compare(t *testing.T, s *nln.Scorer, e *Engine, set *dataset.Set) {
	t.Helper()
	with := s.WithEngine(e)
	want, err := s.PartsAll(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := with.PartsAll(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	sameParts(t, bytes, want)
	var values nln.Parts
	for x := range set.Batches(set.Len()) {
		if values, err = with.Parts(t.Context(), x, values); err != nil {
			t.Fatal(err)
		}
		scores, err1 := s.Score(t.Context(), x, nil)
		others, err2 := with.Score(t.Context(), x, nil)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		for i := range scores {
			if a, b := scores[i], others[i]; math.Abs(a.Score-b.Score) > 1e-2*(1+math.Abs(a.Score)) {
				t.Errorf("image %d: score %v, want %v", i, b.Score, a.Score)
			}
		}
	}
	sameParts(t, values, want)
}

func TestArchitectures(t *testing.T) {
	for _, arch := range models.Archs() {
		for _, cache := range []nln.Cache{nln.CacheUint8, nln.CacheFloat32} {
			t.Run(fmt.Sprint(arch, " ", cache), func(t *testing.T) {
				atEnd(t)
				f := defaults()
				f.arch, f.cfg.Cache = arch, cache
				s := f.fit(t)
				compare(t, s, newTestEngine(t, s, 16), blobs(3, 41, grey28))
			})
		}
	}
}

// Patches of larger images in three colours, and latents as a space of their own.
func TestPatches(t *testing.T) {
	atEnd(t)
	f := defaults()
	image := dataset.Shape{C: 3, H: 48, W: 48}
	f.shape = dataset.Shape{C: 3, H: 32, W: 32}
	f.cfg.Patched = nln.Patched{Grid: dataset.Grid{Patch: 32, Stride: 16}, Image: image}
	f.cfg.Spaces = []string{nln.SpaceImage, nln.SpaceLatent}
	s := f.fit(t)
	e := newTestEngine(t, s, 8)
	compare(t, s, e, blobs(3, 9, image))
	for x := range blobs(4, 3, image).Batches(3) {
		_, want, err1 := s.ScoreMaps(t.Context(), x, true, nil)
		_, got, err2 := s.WithEngine(e).ScoreMaps(t.Context(), x, true, nil)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			for p := range want[i].Score {
				if !alike(float64(got[i].Score[p]), float64(want[i].Score[p]), 100) {
					t.Fatalf("map %d: pixel %d is %v, want %v", i, p, got[i].Score[p], want[i].Score[p])
				}
			}
		}
	}
}

func TestSizesAndNeighbors(t *testing.T) {
	atEnd(t)
	for _, k := range []int{1, 3, 10} {
		f := defaults()
		f.cfg.MaxK, f.cfg.K, f.cfg.Local.K = k, k, k
		s := f.fit(t)
		e := newTestEngine(t, s, 8)
		for _, n := range []int{1, 7, 8, 9, 40} {
			compare(t, s, e, blobs(uint64(n), n, grey28))
		}
		for range 4 { // often enough to be recorded
			compare(t, s, e, blobs(5, 1, grey28))
			compare(t, s, e, blobs(6, 8, grey28))
		}
	}
}

func TestScales(t *testing.T) {
	atEnd(t)
	s := defaults().fit(t)
	e := newTestEngine(t, s, 8)
	for _, scale := range []dataset.Scale{dataset.ScaleMinMax, dataset.Scale255} {
		set := blobs(7, 20, grey28)
		set.Scale = scale
		compare(t, s, e, set)
		x := dataset.Bytes{Shape: set.Size, N: set.Len(), Pix: set.Pix, Scale: scale}
		want, err1 := s.ScoreBytes(t.Context(), x, nil)
		got, err2 := s.WithEngine(e).ScoreBytes(t.Context(), x, nil)
		if err := errors.Join(err1, err2); err != nil || len(got) != len(want) {
			t.Fatalf("%d scores, want %d, error %v", len(got), len(want), err)
		}
	}
}

// Among many copies of an image the search cannot be sure by products of float32.
func TestUnsure(t *testing.T) {
	atEnd(t)
	f := defaults()
	f.train = blobs(1, 300, grey28)
	for i := 20; i < 300; i++ {
		copy(f.train.Image(i), f.train.Image(3))
	}
	s := f.fit(t)
	e := newTestEngine(t, s, 16)
	set := blobs(3, 100, grey28)
	for i := 10; i < 100; i++ {
		copy(set.Image(i), f.train.Image(3))
	}
	compare(t, s, e, set)
	with, err := s.WithEngine(e).PartsAll(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	for j, id := range with.IDs[50*with.K : 51*with.K] {
		if want := int64(3); j == 0 && id != want || j > 0 && id != int64(19+j) {
			t.Errorf("copy %d of the image is %d", j, id)
		}
	}
}

// Values that are not finite are found as without an engine, by the number of the image.
func TestNotFinite(t *testing.T) {
	atEnd(t)
	s := defaults().fit(t)
	with := s.WithEngine(newTestEngine(t, s, 8))
	for x := range blobs(3, 30, grey28).Batches(30) {
		x.Pix[17*grey28.Len()+5] = float32(math.NaN())
		if _, err := with.Parts(t.Context(), x, nln.Parts{}); err == nil || !strings.Contains(err.Error(), "image 17: value 5 is NaN") {
			t.Errorf("NaN pixel: error %v", err)
		}
	}
	m := s.Model().(*models.Autoencoder)
	broken := &diverging{Autoencoder: m, bright: .9}
	s2, err := nln.NewScorer(broken, s.Index(), s.Kept(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	set := blobs(3, 30, grey28)
	set.Scale = dataset.Scale255
	for i := range set.Pix {
		set.Pix[i] /= 2
	}
	for i := range set.Image(21) {
		set.Image(21)[i] = 255
	}
	_, err = s2.WithEngine(newTestEngine(t, s2, 8)).PartsAll(t.Context(), set)
	if err == nil || !strings.Contains(err.Error(), "image 21: latent value 0 is NaN: the model has diverged") {
		t.Errorf("NaN latents: error %v", err)
	}
}

// A diverging model has no latents of images that are brighter than that on average.
type diverging struct {
	*models.Autoencoder
	bright float32
}

func (m *diverging) Encode(ctx context.Context, x dataset.Images, z []float32) error {
	if err := m.Autoencoder.Encode(ctx, x, z); err != nil {
		return err
	}
	for i := range x.N {
		var sum float32
		for _, v := range x.At(i) {
			sum += v
		}
		if sum/float32(x.Shape.Len()) > m.bright {
			z[i*m.LatentDim()] = float32(math.NaN())
		}
	}
	return nil
}

func (m *diverging) EncodeTensor(x *torch.Tensor) *torch.Tensor {
	n := x.Shape()[0]
	// log of a negative number is NaN, and NaN times 0 as well.
	dark := x.Reshape(n, -1).MeanDim(1).Affine(-1, float64(m.bright)).Log().Affine(0, 0).Reshape(n, 1)
	return m.Autoencoder.EncodeTensor(x).Add(dark)
}

// A rerun stands for the graph of a device: it does the work anew, out of the memory
// that was there when it was recorded.
type rerun struct {
	*slot
	work func() error
	runs *int
}

func (g *rerun) Replay() error {
	*g.runs++
	for _, r := range g.steps {
		if r.graph == g {
			r.numbers.Close()
			r.ids.Close()
		}
	}
	return g.work()
}

func (g *rerun) Close() error { return nil }

// Recorded work gets each batch by the memory that it was recorded with.
func TestRecorded(t *testing.T) {
	for _, views := range []int{0, 4} {
		t.Run(fmt.Sprintf("%d views", views), func(t *testing.T) { recordWork(t, views) })
	}
}

func recordWork(t *testing.T, views int) {
	atEnd(t)
	f := defaults()
	f.views = views
	s := f.fit(t)
	e := newTestEngine(t, s, 8)
	runs := 0
	for _, sl := range e.slots {
		sl.record = func(work func() error) (graph, error) { return &rerun{sl, work, &runs}, work() }
	}
	for i := range uint64(4) {
		compare(t, s, e, blobs(10+i, 1, grey28))
		compare(t, s, e, blobs(20+i, 43, grey28))
	}
	if runs < 20 {
		t.Errorf("recorded work was done %d times", runs)
	}
	failed := errors.New("it does not record")
	for _, sl := range e.slots {
		for _, r := range sl.steps {
			if r.graph != nil {
				r.numbers.Close()
				r.ids.Close()
			}
		}
		clear(sl.steps)
		sl.record = func(func() error) (graph, error) { return nil, failed }
	}
	compare(t, s, e, blobs(30, 70, grey28))
	if err := e.Unrecorded(); !errors.Is(err, failed) {
		t.Errorf("no record, error %v", err)
	}
	e.unrecorded = nil
}

// Several goroutines share the two slots.
func TestConcurrent(t *testing.T) {
	atEnd(t)
	s := defaults().fit(t)
	with := s.WithEngine(newTestEngine(t, s, 4))
	set := blobs(3, 37, grey28)
	want, err := with.PartsAll(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			got, err := with.PartsAll(t.Context(), set)
			if err != nil {
				t.Error(err)
				return
			}
			if !slices.Equal(got.Recon, want.Recon) || !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.Spaces[0].Mean, want.Spaces[0].Mean) {
				t.Error("goroutines got other parts than one alone")
			}
		})
	}
	wg.Wait()
}

func TestCancelledAndClosed(t *testing.T) {
	atEnd(t)
	s := defaults().fit(t)
	e := newTestEngine(t, s, 4)
	with := s.WithEngine(e)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := with.PartsAll(ctx, blobs(3, 10, grey28)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	compare(t, s, e, blobs(3, 10, grey28)) // and nothing is lost
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := with.PartsAll(t.Context(), blobs(3, 10, grey28)); err == nil || !strings.Contains(err.Error(), "used after Close") {
		t.Errorf("closed: error %v", err)
	}
}

func TestUnable(t *testing.T) {
	atEnd(t)
	none := defaults()
	none.cfg.Cache = nln.CacheNone
	drawn := defaults()
	drawn.arch, drawn.preset = models.ArchVAE, "code"
	for name, f := range map[string]fixture{"no tables": none, "draws": drawn} {
		if _, err := New(f.fit(t), Options{}); !errors.Is(err, ErrUnable) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestMemory(t *testing.T) {
	atEnd(t)
	f := defaults()
	s := f.fit(t)
	l := s.Model().LatentDim()
	if got, want := Memory(s), int64(200*(4*l+4+28*28)); got != want {
		t.Errorf("memory %d, want %d", got, want)
	}
	for shape, want := range map[dataset.Shape]int{grey28: 4096, {C: 3, H: 256, W: 256}: 64, {C: 3, H: 9000, W: 9000}: 1} {
		if got := batchOf(torch.CUDA(0), shape); got != want || batchOf(torch.CPU, shape) > mostOnCPU {
			t.Errorf("%v: batches of %d, want %d", shape, got, want)
		}
	}
	e := &MemoryError{Device: torch.CUDA(1), Needs: 9e9, Has: 8e9, Err: torch.ErrOutOfMemory}
	if !errors.Is(e, torch.ErrOutOfMemory) || !strings.Contains(e.Error(), "9.0 GB") || !strings.Contains(e.Error(), "cuda:1 has 8.0 GB") || !strings.Contains(e.Hint(), "--device cpu") {
		t.Errorf("%v; hint: %s", e, e.Hint())
	}
}
