package models

import (
	"fmt"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// A supply gives the steps of a queue their images. All is done in the queue's stream.
type supply interface {
	// shuffle gets the order of an epoch ready. The stream has done all that was in it
	// when shuffle was called last.
	shuffle(epoch int) error
	// next puts where p expects it what step k of the epoch needs to take its images.
	next(s *torch.Scope, p *plan, k int) error
	// take returns the images (p.images, C, H, W), values in [0, 1]. It may be recorded.
	take(s *torch.Scope, p *plan) *torch.Tensor
	close()
}

// residentBytes is the most that the pixels of a training may take on a device, or of all
// that are done at once; those of more images come batch by batch.
const residentBytes = 8 << 30

// stored are images that have 8-bit pixels, as dataset.Set and dataset.Patches.
type stored interface {
	Images
	// Bytes stores the pixels of the images ids in dst.
	Bytes(ids []int, dst []uint8)
	Scaling() dataset.Scale
}

// newSupply returns the supply for t, ready for an epoch.
func newSupply(t *trainer, stream *torch.Stream, epoch int) (supply, error) {
	var x supply
	var err error
	set, ok := t.set.(stored)
	if ok && set.Len()*set.Shape().Len() <= t.room && t.opt.way != stepGathers {
		x, err = newResident(t, stream, set)
	} else {
		x, err = newGathered(t, stream)
	}
	if err == nil {
		err = x.shuffle(epoch)
	}
	if err == nil {
		err = stream.Wait() // the next shuffle may come after one step
	}
	if err != nil {
		x.close()
		return nil, fmt.Errorf("images: %w", err)
	}
	return x, nil
}

// resident has all images on the device, and the order of an epoch.
type resident struct {
	t      *trainer
	minmax bool
	pixels *torch.Owned          // bytes (N, C, H, W)
	order  *torch.Owned          // ids (N)
	staged *torch.Staging[int64] // where they come from
}

func newResident(t *trainer, stream *torch.Stream, set stored) (*resident, error) {
	r := &resident{t: t, minmax: set.Scaling() == dataset.ScaleMinMax}
	s := torch.NewScope(t.m.dev)
	defer s.Close()
	ids := s.FromIDs(make([]int64, set.Len()), set.Len())
	var err error
	if r.order, err = ids.Escape(); err != nil {
		return r, err
	}
	if r.staged, err = torch.NewStaging[int64](set.Len()); err != nil {
		return r, err
	}
	// Room for all of them: as often the first, which has the number 0.
	size := set.Shape()
	first := make([]uint8, size.Len())
	set.Bytes([]int{0}, first)
	if r.pixels, err = s.FromBytes(first, 1, size.C, size.H, size.W).TakeRows(ids).Escape(); err != nil {
		return r, err
	}
	return r, r.fill(stream, set)
}

// fill copies the pixels to the device, part by part.
func (r *resident) fill(stream *torch.Stream, set stored) error {
	const part = 32 << 20 // bytes
	size := set.Shape()
	n := min(max(part/size.Len(), 1), set.Len())
	m, err := torch.NewStaging[uint8](n, size.C, size.H, size.W)
	if err != nil {
		return err
	}
	defer m.Close()
	ids := make([]int, 0, n)
	for lo := 0; lo < set.Len(); lo += n {
		ids = ids[:0]
		for i := lo; i < min(lo+n, set.Len()); i++ {
			ids = append(ids, i)
		}
		set.Bytes(ids, m.Data)
		s := torch.NewScope(r.t.m.dev)
		r.pixels.In(s).Narrow(0, lo, len(ids)).Assign(m.In(s).Narrow(0, 0, len(ids)))
		if err := s.Close(); err != nil {
			return err
		}
		if err := stream.Wait(); err != nil { // the memory is filled anew
			return err
		}
	}
	return nil
}

func (r *resident) shuffle(epoch int) error {
	for i, id := range permutation(r.t.set.Len(), r.t.m.cfg.Seed, epoch) {
		r.staged.Data[i] = int64(id)
	}
	s := torch.NewScope(r.t.m.dev)
	r.order.In(s).Assign(r.staged.In(s))
	return s.Close()
}

func (r *resident) next(s *torch.Scope, p *plan, k int) (err error) {
	if p.input == nil {
		if p.input, err = s.FromIDs(make([]int64, p.images), p.images).Escape(); err != nil {
			return err
		}
	}
	p.input.In(s).Assign(r.order.In(s).Narrow(0, k*r.t.m.cfg.Batch, p.images))
	return s.Err()
}

func (r *resident) take(s *torch.Scope, p *plan) *torch.Tensor {
	return r.pixels.In(s).TakeRows(p.input.In(s)).ScaleImages(r.minmax)
}

func (r *resident) close() {
	closeAll(r.pixels, r.order)
	if r.staged != nil {
		r.staged.Close()
	}
}

// gathered has the host gather each batch while the device does the step before.
type gathered struct {
	t      *trainer
	stream *torch.Stream
	perm   []int
	staged [2]*torch.Staging[float32] // images of a full batch, by turns
	turn   int
}

func newGathered(t *trainer, stream *torch.Stream) (*gathered, error) {
	g := &gathered{t: t, stream: stream}
	for i := range g.staged {
		var err error
		if g.staged[i], err = torch.NewStaging[float32](t.shape(min(t.m.cfg.Batch, t.set.Len()))...); err != nil {
			return g, err
		}
	}
	return g, nil
}

// shape returns the shape of n images.
func (t *trainer) shape(n int) []int {
	size := t.m.cfg.Shape
	return []int{n, size.C, size.H, size.W}
}

func (g *gathered) shuffle(epoch int) error {
	g.perm = permutation(g.t.set.Len(), g.t.m.cfg.Seed, epoch)
	return nil
}

func (g *gathered) next(s *torch.Scope, p *plan, k int) (err error) {
	if p.input == nil {
		if p.input, err = s.Full(0, g.t.shape(p.images)...).Escape(); err != nil {
			return err
		}
	}
	m := g.staged[g.turn]
	g.turn = 1 - g.turn
	g.t.set.Gather(g.perm[k*g.t.m.cfg.Batch:][:p.images], m.Data)
	// The step before ends, and with it the copy from the other memory, which is
	// filled next.
	if err := g.stream.Wait(); err != nil {
		return err
	}
	p.input.In(s).Assign(m.In(s).Narrow(0, 0, p.images))
	return s.Err()
}

func (g *gathered) take(s *torch.Scope, p *plan) *torch.Tensor { return p.input.In(s) }

func (g *gathered) close() {
	for _, m := range g.staged {
		if m != nil {
			m.Close()
		}
	}
}
