// Package engine computes the parts of scores on one device, from 8-bit pixels to error
// terms, without going back to the host in between: it is an nln.Engine.
//
// [New] brings a scorer's latents and tables to the device of its model; the scorer with
// the engine, see nln.Scorer.WithEngine, scores as the one without, within [Tolerance].
// Two batches are under way at a time, so that copies go on while others compute, and
// on a CUDA device the work of a whole batch is recorded and started with one call. All
// of it is operations of package cgo/torch, which the processor does as well.
package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// Tolerance is how far an error term may be from that of the scorer without an engine,
// relative to it: sums of float32 go in another order, here and in libtorch. Neighbours
// are the same where the latents are; latents that differ in the last places can change
// the order of neighbours at almost the same distance.
const Tolerance = 1e-4

// ErrUnable is wrapped by the error of New for a scorer whose parts have to be computed
// another way.
var ErrUnable = errors.New("not for an engine")

// A Net is a model that computes on tensors of its device, (N, C, H, W) and (N, L).
type Net interface {
	nln.Model
	Device() torch.Device
	Draws() bool // then it is none for an engine
	EncodeTensor(x *torch.Tensor) *torch.Tensor
	DecodeTensor(z *torch.Tensor) *torch.Tensor
	FeaturesTensor(network string, x *torch.Tensor) *torch.Tensor
}

// Options of an engine. The zero value is good.
type Options struct {
	Batch int // images that go through the device at a time; 0: by their size
}

// An Engine has a scorer's latents and tables on the device of its model.
type Engine struct {
	dev     torch.Device
	model   Net
	batch   int
	spaces  map[string]nln.Space
	vectors *torch.Owned                 // (M, L)
	near    *torch.Near                  // among vectors
	tables  map[nln.Feature]*torch.Owned // (M, F), float32 or bytes; vectors among them

	free   chan *slot // those that nobody uses; closed by Close
	slots  []*slot
	closed sync.Once

	mu         sync.Mutex
	unrecorded error // why steps could not be recorded
}

var _ nln.Engine = (*Engine)(nil)

// inFlight is how many batches are on the device at a time: one computes while what
// the other needs or gave is copied.
const inFlight = 2

// New returns an engine for a scorer over an index that misses no neighbours. The
// caller closes it, before the model, when no scoring is under way. Its error wraps
// ErrUnable where the model draws, is none for tensors, or a table is not kept, and a
// *MemoryError where the device has too little memory.
func New(s *nln.Scorer, o Options) (*Engine, error) {
	e, err := newEngine(s, o)
	var memory *MemoryError
	if errors.Is(err, torch.ErrOutOfMemory) && !errors.As(err, &memory) {
		err = &MemoryError{Needs: Memory(s), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return e, nil
}

func newEngine(s *nln.Scorer, o Options) (_ *Engine, err error) {
	m, err := able(s)
	if err != nil {
		return nil, err
	}
	if err := checkMemory(m.Device(), Memory(s)); err != nil {
		return nil, err
	}
	e := &Engine{dev: m.Device(), model: m, batch: o.Batch, spaces: map[string]nln.Space{}, tables: map[nln.Feature]*torch.Owned{}, free: make(chan *slot, inFlight)}
	if e.batch == 0 {
		e.batch = batchOf(m.Device(), m.Shape())
	}
	for _, space := range s.Spaces() {
		e.spaces[space.Name] = space
	}
	if err := torch.Run(func() error { return e.fill(s) }); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// able returns the model of a scorer that an engine can work for.
func able(s *nln.Scorer) (Net, error) {
	m, ok := s.Model().(Net)
	if !ok {
		return nil, fmt.Errorf("%w: the model does not compute on tensors", ErrUnable)
	}
	if r, ok := s.Model().(nln.Reconstructor); m.Draws() || ok && r.Reconstructs() {
		return nil, fmt.Errorf("%w: the model draws latents out of pixels", ErrUnable)
	}
	if vectorsOf(s) == nil {
		return nil, fmt.Errorf("%w: the index does not give its vectors", ErrUnable)
	}
	for _, space := range s.Spaces() {
		if f := space.Neighbor; f != latents && tableOf(s, f) == nil {
			return nil, fmt.Errorf("%w: no table of %v is kept, with cache %q", ErrUnable, f, s.Config().Cache)
		}
	}
	return m, nil
}

var latents = nln.Feature{Of: nln.OfLatent}

// vectorsOf returns the latents that a scorer has indexed, row-major, or nil.
func vectorsOf(s *nln.Scorer) []float32 {
	if x, ok := s.Index().(nln.VectorIndex); ok {
		return x.Vectors()
	}
	return nil
}

// tableOf returns a scorer's table of a feature, or nil.
func tableOf(s *nln.Scorer, f nln.Feature) *nln.Table {
	tables := s.Kept().Tables
	if i := slices.IndexFunc(tables, func(t *nln.Table) bool { return t.Feature == f }); i >= 0 {
		return tables[i]
	}
	return nil
}

// fill brings to the device what stays there. Copies from the host are done when their
// calls return, so that other streams may read what they brought.
func (e *Engine) fill(s *nln.Scorer) (err error) {
	v := vectorsOf(s)
	l := e.model.LatentDim()
	if e.vectors, err = torch.NewOwned(e.dev, v, len(v)/l, l); err != nil {
		return err
	}
	e.tables[latents] = e.vectors
	for _, space := range e.spaces {
		f := space.Neighbor
		if e.tables[f] != nil {
			continue
		}
		if e.tables[f], err = bring(e.dev, tableOf(s, f)); err != nil {
			return err
		}
	}
	if e.near, err = torch.NewNear(e.dev, e.vectors); err != nil {
		return err
	}
	for range inFlight {
		sl, err := newSlot(e.dev, e.batch, e.model.Shape())
		if err != nil {
			return err
		}
		e.slots = append(e.slots, sl)
		e.free <- sl
	}
	return nil
}

// bring copies a table to a device.
func bring(dev torch.Device, t *nln.Table) (*torch.Owned, error) {
	if t.Kind == nln.CacheFloat32 {
		return torch.NewOwned(dev, t.F32, t.Len(), t.F)
	}
	s := torch.NewScope(dev)
	defer s.Close()
	return s.FromBytes(t.U8, t.Len(), t.F).Escape()
}

// Close frees what is on the device, when the scoring that is under way is done. It may
// be called again.
func (e *Engine) Close() error {
	var errs []error
	e.closed.Do(func() {
		for range e.slots {
			<-e.free
		}
		close(e.free)
		errs = append(errs, torch.Run(e.release))
	})
	return errors.Join(errs...)
}

func (e *Engine) release() error {
	var errs []error
	for _, sl := range e.slots {
		errs = append(errs, sl.close())
	}
	if e.near != nil {
		errs = append(errs, e.near.Close())
	}
	for _, t := range e.tables {
		if t != nil {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}

// Device returns where the engine computes.
func (e *Engine) Device() torch.Device { return e.dev }

// Unrecorded returns why the work of a CUDA device could not be recorded and is
// started piece by piece, which takes longer; nil where nothing was in the way.
func (e *Engine) Unrecorded() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unrecorded
}

// Images returns how many images it takes at a time to keep the engine busy: several
// batches, as long as these are not much memory.
func (e *Engine) Images() int {
	return e.batch * max(1, min(mostAhead, aheadBytes/(e.batch*e.model.Shape().Len())))
}

const (
	mostAhead  = 8
	aheadBytes = 64 << 20
)

// Parts fills in p; see nln.Engine.
func (e *Engine) Parts(ctx context.Context, x dataset.Images, w nln.Wanted, p nln.Parts) ([]int, error) {
	return e.run(ctx, images{n: x.N, floats: x.Pix}, w, p)
}

// PartsBytes fills in p; see nln.Engine.
func (e *Engine) PartsBytes(ctx context.Context, x dataset.Bytes, w nln.Wanted, p nln.Parts) ([]int, error) {
	return e.run(ctx, images{n: x.N, bytes: x.Pix, minmax: x.Scale != dataset.Scale255}, w, p)
}

// images are those of a batch, as values or as 8-bit pixels, which is the one that is
// not nil.
type images struct {
	n      int
	floats []float32
	bytes  []uint8
	minmax bool // how pixels are scaled, as by torch.Tensor.ScaleImages
}

func (x images) slice(lo, hi int) images {
	y := x
	y.n = hi - lo
	if x.bytes != nil {
		size := len(x.bytes) / x.n
		y.bytes = x.bytes[lo*size : hi*size]
		return y
	}
	size := len(x.floats) / x.n
	y.floats = x.floats[lo*size : hi*size]
	return y
}

// pick returns some images by their places.
func (x images) pick(places []int) images {
	y := images{n: len(places), minmax: x.minmax}
	for _, i := range places {
		one := x.slice(i, i+1)
		y.floats, y.bytes = append(y.floats, one.floats...), append(y.bytes, one.bytes...)
	}
	return y
}
