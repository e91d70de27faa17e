package engine

import (
	"errors"
	"sync"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// A slot is where one batch at a time goes through the device: a queue of its work and
// memory for what it needs and gives. What is recorded reads and writes that memory.
type slot struct {
	dev    torch.Device
	batch  int
	shape  dataset.Shape
	stream *torch.Stream
	bytes  *input[uint8]   // nil before it is used
	floats *input[float32] // the same
	steps  map[job]*recorded
	record func(work func() error) (graph, error) // of stream

	numbers *torch.Staging[float32] // results on the host; nil before the first
	ids     *torch.Staging[int64]
}

// An input has room for a batch of images, on the host and on the device.
type input[T torch.Element] struct {
	here  *torch.Staging[T]
	there *torch.Owned
}

// recorded is the work of a job.
type recorded struct {
	runs         int          // that were not recorded
	graph        graph        // nil: not yet, or not at all
	never        bool         // it cannot be recorded
	numbers, ids *torch.Owned // where graph leaves its results
}

// A graph is a torch.Graph.
type graph interface {
	Replay() error
	Close() error
}

// warmUp is how often a job is done before it is recorded: libtorch chooses and
// allocates what it keeps for later.
const warmUp = 2

// recording is held by what records, since CUDA then allows no thread to do certain
// things, and shared by what waits for a device outside of torch.Run.
var recording sync.RWMutex

func newSlot(dev torch.Device, batch int, shape dataset.Shape) (*slot, error) {
	st, err := torch.NewStream(dev)
	if err != nil {
		return nil, err
	}
	record := func(work func() error) (graph, error) { return st.Capture(work) }
	return &slot{dev: dev, batch: batch, shape: shape, stream: st, steps: map[job]*recorded{}, record: record}, nil
}

func (sl *slot) close() error {
	errs := []error{sl.stream.Wait()}
	for _, r := range sl.steps {
		if r.graph != nil {
			errs = append(errs, r.numbers.Close(), r.ids.Close(), r.graph.Close())
		}
	}
	errs = append(errs, sl.bytes.close(), sl.floats.close())
	if sl.numbers != nil {
		errs = append(errs, sl.numbers.Close(), sl.ids.Close())
	}
	return errors.Join(append(errs, sl.stream.Close())...)
}

func newInput[T torch.Element](there *torch.Owned, err error, n int) (*input[T], error) {
	if err != nil {
		return nil, err
	}
	here, err := torch.NewStaging[T](n)
	if err != nil {
		return nil, errors.Join(err, there.Close())
	}
	return &input[T]{here, there}, nil
}

func (in *input[T]) close() error {
	if in == nil {
		return nil
	}
	return errors.Join(in.here.Close(), in.there.Close())
}

// copied starts the copy of n images of a shape to the device and returns them there.
func (in *input[T]) copied(s *torch.Scope, n int, shape dataset.Shape) *torch.Tensor {
	x := in.there.In(s).Narrow(0, 0, n*shape.Len())
	x.Assign(in.here.In(s).Narrow(0, 0, n*shape.Len()))
	return x.Reshape(n, shape.C, shape.H, shape.W)
}

// stage takes images for the next job.
func (sl *slot) stage(x images) (err error) {
	n := sl.batch * sl.shape.Len()
	if x.bytes != nil {
		if sl.bytes == nil {
			err = torch.Run(func() (err error) {
				s := torch.NewScope(sl.dev)
				defer s.Close()
				there, err := s.FromBytes(make([]uint8, n), n).Escape()
				sl.bytes, err = newInput[uint8](there, err, n)
				return err
			})
			if err != nil {
				return err
			}
		}
		copy(sl.bytes.here.Data, x.bytes)
		return nil
	}
	if sl.floats == nil {
		err = torch.Run(func() (err error) {
			there, err := torch.NewOwned(sl.dev, make([]float32, n), n)
			sl.floats, err = newInput[float32](there, err, n)
			return err
		})
		if err != nil {
			return err
		}
	}
	copy(sl.floats.here.Data, x.floats)
	return nil
}

// start starts a job for the images that were staged, and does not wait for it.
func (sl *slot) start(e *Engine, j job) error {
	return torch.Run(func() error {
		if err := sl.makeRoom(j); err != nil {
			return err
		}
		return sl.stream.Do(func() error {
			s := torch.NewScope(sl.dev)
			err := sl.work(s, e, j)
			return errors.Join(err, s.Close())
		})
	})
}

// work copies images in, computes and copies results out, all in the slot's stream.
func (sl *slot) work(s *torch.Scope, e *Engine, j job) error {
	var x *torch.Tensor
	if j.bytes {
		x = sl.bytes.copied(s, j.n, sl.shape)
	} else {
		x = sl.floats.copied(s, j.n, sl.shape)
	}
	r := sl.steps[j]
	if r == nil {
		r = &recorded{never: j.n != 1 && j.n != sl.batch} // of which there may be many
		if !r.never {
			sl.steps[j] = r
		}
	}
	if r.graph == nil && !r.never && r.runs >= warmUp {
		sl.keep(e, j, r)
	}
	replayed := false
	if r.graph != nil && !r.never {
		err := r.graph.Replay()
		if replayed = err == nil; !replayed { // as where another recording has failed meanwhile
			r.never = true
			e.note(err)
		}
	}
	var numbers, ids *torch.Tensor
	if replayed {
		numbers, ids = r.numbers.In(s), r.ids.In(s)
	} else {
		numbers, ids = e.step(x, j)
		r.runs++
	}
	rows(sl.numbers.In(s), j.n, j.width()).Assign(numbers)
	rows(sl.ids.In(s), j.n, j.k).Assign(ids)
	return s.Err()
}

// rows returns the first n rows of some memory.
func rows(t *torch.Tensor, n, width int) *torch.Tensor {
	return t.Narrow(0, 0, n*width).Reshape(n, width)
}

// keep records a job. What cannot be recorded is done piece by piece from then on.
func (sl *slot) keep(e *Engine, j job, r *recorded) {
	recording.Lock()
	defer recording.Unlock()
	g, err := sl.record(func() (err error) {
		s := torch.NewScope(sl.dev)
		defer s.Close()
		var in *torch.Tensor
		if n := j.n * sl.shape.Len(); j.bytes {
			in = sl.bytes.there.In(s).Narrow(0, 0, n)
		} else {
			in = sl.floats.there.In(s).Narrow(0, 0, n)
		}
		numbers, ids := e.step(in.Reshape(j.n, sl.shape.C, sl.shape.H, sl.shape.W), j)
		if r.numbers, err = numbers.Escape(); err != nil {
			return err
		}
		r.ids, err = ids.Escape()
		return err
	})
	if err == nil {
		r.graph = g
		return
	}
	for _, o := range []*torch.Owned{r.numbers, r.ids} {
		if o != nil {
			o.Close()
		}
	}
	r.never = true
	if !errors.Is(err, torch.ErrUnsupported) {
		e.note(err)
	}
}

// note keeps why work is not recorded.
func (e *Engine) note(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unrecorded = err
}

// makeRoom makes sure that the results of a job have room on the host.
func (sl *slot) makeRoom(j job) (err error) {
	numbers, ids := sl.batch*j.width(), sl.batch*j.k
	if sl.numbers != nil && len(sl.numbers.Data) >= numbers && len(sl.ids.Data) >= ids {
		return nil
	}
	if sl.numbers != nil {
		err = errors.Join(sl.numbers.Close(), sl.ids.Close())
		sl.numbers = nil
	}
	a, err1 := torch.NewStaging[float32](numbers)
	b, err2 := torch.NewStaging[int64](ids)
	if err = errors.Join(err, err1, err2); err == nil {
		sl.numbers, sl.ids = a, b
	}
	return err
}
