package models

import (
	"errors"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// A queue does the steps of a training in a stream of a device, ahead of what the host
// knows of them. A step, from its images to the optimisers, is some hundred small pieces
// of work, which take longer to begin than to do; so after a few steps it is recorded,
// and what begins it is one call.
//
// What is recorded reads nothing from the host and nothing that is new in a step: before
// each step its images, or their numbers, and its random numbers are put where the
// recording expects them. The losses it leaves in a row, which is copied into a table;
// the host reads the table after some steps, the one moment at which it waits.
//
// Where nothing can be recorded, as on the CPU, each step is done in full.
//
// All is done within [torch.Run] and the stream, see within.
type queue struct {
	t       *trainer
	stream  *torch.Stream
	capture func(work func() error) (*torch.Graph, error) // of stream
	plans   map[int]*plan                                 // by the number of images; the last step of an epoch has a plan of its own
	images  supply                                        // nil before the first step

	names []string     // of the losses
	row   *torch.Owned // (1, len(names)): losses of the last step
	table *torch.Owned // (longest, len(names)): of the steps not told yet

	window int       // how many steps are begun before their losses are read
	since  time.Time // they were read
}

const (
	// eagerSteps are done before a step is recorded: libraries choose and allocate
	// what they need in the first ones, which they may not do in a recording.
	eagerSteps = 3
	// longest is the largest window. Reading takes the device about a step's time
	// of rest.
	longest = 100
	// pause is about how long a window takes at most, and so an interrupt.
	pause = time.Second
)

// newQueue returns a queue for t.
func newQueue(t *trainer) (*queue, error) {
	stream, err := torch.NewStream(t.m.dev)
	if err != nil {
		return nil, err
	}
	q := &queue{t: t, stream: stream, capture: stream.Capture, plans: map[int]*plan{}, window: max(t.opt.window, 1)}
	if t.opt.capture != nil {
		q.capture = t.opt.capture
	}
	return q, nil
}

func (q *queue) within(f func() error) error {
	return torch.Run(func() error { return q.stream.Do(f) })
}

func (q *queue) close() error {
	// What is under way uses the memory that is freed here.
	err := torch.Run(q.stream.Wait)
	for _, p := range q.plans {
		p.close()
	}
	if q.images != nil {
		q.images.close()
	}
	closeAll(q.row, q.table)
	return errors.Join(err, q.stream.Close())
}

// closeAll closes those that there are.
func closeAll(owned ...*torch.Owned) {
	for _, o := range owned {
		if o != nil {
			o.Close()
		}
	}
}

// begin puts the next step into the stream.
func (q *queue) begin() error {
	t := q.t
	epoch, k, n := t.place(t.step)
	if q.images == nil {
		var err error
		if q.images, err = newSupply(t, q.stream, epoch); err != nil {
			return err
		}
		q.since = time.Now()
	}
	p := q.plans[n]
	if p == nil {
		p = &plan{images: n}
		q.plans[n] = p
	}
	s := torch.NewScope(t.m.dev)
	defer s.Close()
	if err := q.images.next(s, p, k); err != nil {
		return err
	}
	if err := q.step(s, p); err != nil {
		return err
	}
	p.steps++
	row := q.row.In(s)
	if q.table == nil {
		var err error
		if q.table, err = s.Full(0, longest, len(q.names)).Escape(); err != nil {
			return err
		}
	}
	q.table.In(s).Narrow(0, t.step-t.told, 1).Assign(row)
	if _, next, _ := t.place(t.step + 1); next == 0 && t.step+1 < t.res.Steps && s.Err() == nil {
		return q.images.shuffle(epoch + 1)
	}
	return s.Err()
}

// step does a step whose images are ready.
func (q *queue) step(s *torch.Scope, p *plan) error {
	if p.steps == 0 || len(p.draws) > 0 {
		source, err := q.t.noise(q.t.step)
		if err != nil {
			return err
		}
		defer source.Close()
		if p.steps == 0 {
			return q.work(p, noting{source, p})
		}
		if err := p.draw(s, source); err != nil {
			return err
		}
	}
	work := func() error { return q.work(p, &drawn{draws: p.draws}) }
	if p.steps < eagerSteps {
		return work()
	}
	if p.again == nil {
		g, err := q.capture(work)
		switch {
		case err == nil:
			p.graph, p.again = g, func() error {
				err := g.Replay()
				if err == nil {
					return nil
				}
				// As where another recording has failed in the meantime.
				q.t.res.Unrecorded, p.again = err.Error(), work
				return work()
			}
		default:
			// Nothing has been done, and can be done as before, which takes less memory.
			p.again = work
			if !errors.Is(err, torch.ErrUnsupported) {
				q.t.res.Unrecorded = err.Error()
			}
		}
	}
	return p.again()
}

// work is what is recorded: from where the step's images are to the optimisers.
func (q *queue) work(p *plan, noise noise) error {
	s := torch.NewGradScope(q.t.m.dev)
	defer s.Close()
	return q.t.move(noise, q.images.take(s, p), func(values []part) error {
		scalars := make([]*torch.Tensor, len(values))
		for i, v := range values {
			scalars[i] = v.value.Reshape(1, 1)
		}
		row := s.Cat(1, scalars...)
		if q.row != nil {
			q.row.In(s).Assign(row)
			return s.Err()
		}
		for _, v := range values { // the first step, which is not recorded
			q.names = append(q.names, v.name)
		}
		var err error
		q.row, err = row.Escape()
		return err
	})
}

// due says whether the window is full. The end of an epoch closes it as well, since the
// order of the next but one goes where that of the next came from.
func (q *queue) due() bool {
	t := q.t
	_, k, _ := t.place(t.step)
	checkpoint := t.opt.Checkpoint != "" && time.Since(t.saved) > t.opt.CheckpointEvery
	return k == 0 || t.step-t.told >= q.window || checkpoint
}

func (q *queue) losses() ([][]Loss, error) {
	n := q.t.step - q.t.told
	if n == 0 {
		return nil, nil
	}
	values := make([]float32, longest*len(q.names))
	if err := q.within(func() error { return q.table.CopyTo(values) }); err != nil {
		return nil, err
	}
	all := make([][]Loss, n)
	for i := range all {
		for j, name := range q.names {
			all[i] = append(all[i], Loss{name, float64(values[i*len(q.names)+j])})
		}
	}
	q.adapt()
	return all, nil
}

// adapt makes the window longer or shorter as it was filled in less or more time.
func (q *queue) adapt() {
	took := time.Since(q.since)
	q.since = time.Now()
	switch {
	case q.t.opt.window > 0:
	case took > pause:
		q.window = max(q.window/2, 1)
	case took < pause/4:
		q.window = min(2*q.window, longest)
	}
}

// A plan is the step for some number of images.
type plan struct {
	images int
	steps  int          // done
	input  *torch.Owned // where the step finds its images or their numbers
	draws  []*drawing   // what it draws, in order
	graph  *torch.Graph // nil before it is recorded, and where nothing is
	again  func() error // does the step; nil at first
}

func (p *plan) close() {
	if p.graph != nil {
		p.graph.Close()
	}
	closeAll(p.input)
	for _, d := range p.draws {
		closeAll(d.values)
	}
}

// A drawing is one that a step makes: of standard normal values, or of what dropout with a
// rate multiplies by.
type drawing struct {
	shape  []int
	rate   float64 // 0: normal
	values *torch.Owned
}

// draw draws for the next step, in the order in which the step itself would.
func (p *plan) draw(s *torch.Scope, source noise) error {
	for _, d := range p.draws {
		var v *torch.Tensor
		if d.rate > 0 {
			v = source.dropout(s.Full(1, d.shape...), d.rate)
		} else {
			v = source.normal(s, d.shape...)
		}
		if d.values != nil {
			d.values.In(s).Assign(v)
			continue
		}
		var err error
		if d.values, err = v.Escape(); err != nil {
			return err
		}
	}
	return s.Err()
}

// noting draws, and notes what in the plan.
type noting struct {
	noise
	p *plan
}

func (n noting) normal(s *torch.Scope, shape ...int) *torch.Tensor {
	n.p.draws = append(n.p.draws, &drawing{shape: shape})
	return n.noise.normal(s, shape...)
}

func (n noting) dropout(x *torch.Tensor, rate float64) *torch.Tensor {
	n.p.draws = append(n.p.draws, &drawing{shape: x.Shape(), rate: rate})
	return n.noise.dropout(x, rate)
}

// drawn gives what was drawn before, in order.
type drawn struct {
	draws []*drawing
	next  int
}

func (d *drawn) Close() error { return nil }

func (d *drawn) normal(s *torch.Scope, _ ...int) *torch.Tensor {
	d.next++
	return d.draws[d.next-1].values.In(s)
}

func (d *drawn) dropout(x *torch.Tensor, _ float64) *torch.Tensor {
	d.next++
	return x.Mul(d.draws[d.next-1].values.In(x.Scope()))
}
