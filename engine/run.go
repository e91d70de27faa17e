package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/nln"
)

// A flight is a batch on the device.
type flight struct {
	*slot
	job
	first int // place of its first image
}

// A passage takes images through the device, a batch at a time.
type passage struct {
	*Engine
	x      images
	w      nln.Wanted
	p      nln.Parts
	flying []flight // the oldest first
	unfit  []int
	err    error // the first
}

func (e *Engine) run(ctx context.Context, x images, w nln.Wanted, p nln.Parts) (unfit []int, err error) {
	t := &passage{Engine: e, x: x, w: w, p: p}
	for lo := 0; lo < x.n && t.err == nil; lo += e.batch {
		sl := t.slot()
		if sl == nil {
			return nil, errors.New("engine: used after Close")
		}
		if t.err == nil {
			t.err = ctx.Err()
		}
		t.send(sl, lo, min(lo+e.batch, x.n))
	}
	for len(t.flying) > 0 {
		e.free <- t.land()
	}
	if errors.Is(t.err, torch.ErrOutOfMemory) {
		t.err = &MemoryError{Device: e.dev, Err: t.err}
	}
	if t.err != nil {
		return nil, fmt.Errorf("engine: %w", t.err)
	}
	slices.Sort(t.unfit)
	return t.unfit, nil
}

// slot returns one that is free, once its own oldest flight has landed if it has to:
// two passages that each wait for the other's would never end. It is nil after Close.
func (t *passage) slot() *slot {
	select {
	case sl := <-t.free:
		return sl
	default:
	}
	if len(t.flying) > 0 {
		return t.land()
	}
	return <-t.free
}

// send starts the images lo up to, not including, hi, unless there was an error.
func (t *passage) send(sl *slot, lo, hi int) {
	part := t.x.slice(lo, hi)
	f := flight{sl, newJob(part, t.w), lo}
	if t.err == nil {
		t.err = sl.stage(part)
	}
	if t.err == nil {
		t.err = sl.start(t.Engine, f.job)
	}
	if t.err != nil {
		t.err = errors.Join(t.err, sl.wait())
		t.free <- sl
		return
	}
	t.flying = append(t.flying, f)
}

// land waits for the oldest flight, takes its results and returns its slot.
func (t *passage) land() *slot {
	f := t.flying[0]
	t.flying = t.flying[1:]
	t.err = errors.Join(t.err, f.wait())
	if t.err == nil {
		var unfit []int
		unfit, t.err = t.take(f, t.x, t.p)
		t.unfit = append(t.unfit, unfit...)
	}
	return f.slot
}

// wait waits for the slot's work, on the caller's thread, so that others go on.
func (sl *slot) wait() error {
	recording.RLock()
	defer recording.RUnlock()
	return sl.stream.Wait()
}

// take stores the results of a flight that is done, and has those of which the search
// was unsure computed again. It returns the places of the images without finite ones.
func (e *Engine) take(f flight, x images, p nln.Parts) (unfit []int, err error) {
	var open []int
	for i := range f.n {
		at := f.first + i
		switch finite, unsure := f.unpack(f.slot.numbers.Data, f.slot.ids.Data, i, p, at); {
		case !finite:
			unfit = append(unfit, at)
		case unsure:
			open = append(open, at)
		}
	}
	for some := range slices.Chunk(open, mostAll) {
		more, err := e.again(f.job, x.pick(some), some, p)
		if err != nil {
			return nil, err
		}
		unfit = append(unfit, more...)
	}
	return unfit, nil
}

// mostAll is how many images are compared with all vectors at a time.
const mostAll = 64

// again computes the job for some images, comparing with all vectors, and stores the
// results in the rows of p that places names.
func (e *Engine) again(j job, x images, places []int, p nln.Parts) (unfit []int, err error) {
	j.n, j.all = x.n, true
	numbers, ids := make([]float32, j.n*j.width()), make([]int64, j.n*j.k)
	shape := e.model.Shape()
	err = torch.Run(func() error {
		s := torch.NewScope(e.dev)
		defer s.Close()
		var in *torch.Tensor
		if j.bytes {
			in = s.FromBytes(x.bytes, j.n, shape.C, shape.H, shape.W)
		} else {
			in = s.FromFloats(x.floats, j.n, shape.C, shape.H, shape.W)
		}
		n, i := e.step(in, j)
		if err := n.CopyTo(numbers); err != nil {
			return err
		}
		return i.CopyIDsTo(ids)
	})
	if err != nil {
		return nil, err
	}
	for i, at := range places {
		if finite, _ := j.unpack(numbers, ids, i, p, at); !finite {
			unfit = append(unfit, at)
		}
	}
	return unfit, nil
}
