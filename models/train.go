package models

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// Options say how Train reports and keeps its state.
type Options struct {
	// Progress, if set, is called after each step.
	Progress func(Progress)

	// Checkpoint, if set, names a file from which Train goes on if it is there,
	// and in which it stores its state every CheckpointEvery (0: two minutes),
	// when the context ends, and after the last step. The caller removes it when
	// it has saved the model.
	Checkpoint      string
	CheckpointEvery time.Duration

	// Note, if set, gives a text of the caller's to keep in the checkpoint, such
	// as what Progress has gathered, and Recall gets it back where Train goes on.
	Note   func() (string, error)
	Recall func(note string) error

	// For tests: how steps are done, after how many of them a queue's losses are read,
	// and what stands for torch.Stream.Capture.
	way     way
	window  int
	capture func(work func() error) (*torch.Graph, error)
}

// A way to do steps.
type way int

const (
	byDevice    way = iota // at once on the CPU, else queued
	stepAtOnce             // see type atOnce
	stepQueued             // see type queue
	stepGathers            // queued, with images that the host gathers
)

// Progress is how far a training is. On a device the losses of some steps are read
// together, and Elapsed is spread evenly over these.
type Progress struct {
	Step, Steps int
	Epoch       int           // of the step, from 1
	Losses      []Loss        // of the step's batch, in the order of the model's optimisers, each before its parts
	EpochLosses []Loss        // their means over the steps of this epoch so far
	Resumed     int           // steps that were done before this run
	Images      int           // that went through the model in this run, those of each epoch anew
	Elapsed     time.Duration // of this run
}

// A Loss is the value of one of a model's losses, or of a summand of one before
// its weight, such as "vae/kl".
type Loss struct {
	Name  string
	Value float64
}

// A Result says what a training did.
type Result struct {
	Steps     int     `json:"steps"`
	Images    int     `json:"images"`     // in the training set
	Seconds   float64 `json:"seconds"`    // of this run
	FirstLoss float64 `json:"first_loss"` // mean over the first epoch
	LastLoss  float64 `json:"last_loss"`  // mean over the last epoch
	Resumed   int     `json:"resumed_at_step,omitempty"`

	Device    string          `json:"device,omitempty"`    // of the last run, such as "cpu" or "cuda:0"
	Precision torch.Precision `json:"precision,omitempty"` // of the factors of products there
	Together  int             `json:"together,omitempty"`  // trainings that shared the device, see TrainAll

	Unrecorded string `json:"unrecorded,omitempty"` // why steps on a CUDA device could not be recorded, and so took several times as long
}

// ErrDiverged is wrapped by Train's error when the loss is no longer a number.
var ErrDiverged = errors.New("the loss is no longer finite; try a smaller learning rate")

// Train trains m on the images of set, which must hold normal images only, as
// its Config says: each epoch goes through a new random permutation of them, and
// the last, smaller batch is kept. With Config.Whiten it then whitens the
// latents, after the last checkpoint. Equal configurations and sets give equal
// weights on one device with one number of threads, also over a checkpoint.
//
// On a CUDA device the images, as 8-bit pixels, and all of the training stay there;
// see the comment of type queue.
//
// When ctx ends, Train stores a checkpoint if it was given a place for it and
// returns an error that wraps ctx.Err().
func Train(ctx context.Context, m *Autoencoder, set Images, opt Options) (Result, error) {
	t, err := openTrainer(m, set, opt)
	if err != nil {
		return Result{}, err
	}
	defer t.close()
	for t.step < t.res.Steps {
		if err := ctx.Err(); err != nil {
			return t.res, t.stop(err)
		}
		if err := t.advance(ctx); err != nil {
			return t.res, err
		}
	}
	return t.finish(ctx)
}

// Images are what Train learns from: a dataset.Set, or dataset.Patches of one.
type Images interface {
	dataset.Source
	// Gather stores the images ids in dst, see dataset.Set.
	Gather(ids []int, dst []float32) dataset.Images
	// WriteIdentity writes what tells these images from others, for a checkpoint.
	WriteIdentity(w io.Writer) error
}

// trainer is a training under way.
type trainer struct {
	m     *Autoencoder
	set   Images
	opt   Options
	adams []*groupAdam
	noise func(step int) (noise, error)
	steps stepper
	room  int // bytes that the images may take on a device

	step  int       // steps begun
	told  int       // of these, those whose losses are known
	mean  epochMean // of the losses in the current epoch
	first float64   // mean of the first loss over the first epoch
	batch []float32 // pixels of one batch

	res     Result
	start   time.Time
	saved   time.Time
	elapsed time.Duration // from start to when losses were last read
	seen    int           // images in the steps of this run
}

// A stepper does the steps of a trainer.
type stepper interface {
	// within calls f where steps may begin and the weights be read and set.
	within(f func() error) error
	// begin does the trainer's next step, or puts it into a device's queue.
	begin() error
	// due says whether losses are to be read before the next step.
	due() bool
	// losses waits for the steps begun, and returns the losses of those not told yet.
	losses() ([][]Loss, error)
	close() error
}

// groupAdam is an optimiser and what it moves.
type groupAdam struct {
	optimizer
	*torch.Adam
	params []parameter
	owned  []*torch.Owned
}

// openTrainer returns a trainer that goes on from its checkpoint, if there is one.
func openTrainer(m *Autoencoder, set Images, opt Options) (*trainer, error) {
	t, err := newTrainer(m, set, opt)
	if err != nil {
		return nil, err
	}
	if err := t.resume(); err != nil {
		t.close()
		return nil, err
	}
	t.res.Resumed = t.step
	t.start, t.saved = time.Now(), time.Now()
	return t, nil
}

func newTrainer(m *Autoencoder, set Images, opt Options) (*trainer, error) {
	if set.Shape() != m.cfg.Shape {
		return nil, fmt.Errorf("models: train: images of %v, the model takes %v", set.Shape(), m.cfg.Shape)
	}
	if set.Len() == 0 {
		return nil, errors.New("models: train: no images")
	}
	if opt.CheckpointEvery == 0 {
		opt.CheckpointEvery = 2 * time.Minute
	}
	t := &trainer{m: m, set: set, opt: opt, batch: make([]float32, min(m.cfg.Batch, set.Len())*m.cfg.Shape.Len())}
	t.res = Result{Steps: m.cfg.TotalSteps(set.Len()), Images: set.Len(), Device: m.dev.String(), Precision: torch.CurrentPrecision()}
	t.noise, t.room = t.drawn, residentBytes
	t.steps = &atOnce{t: t}
	if opt.way >= stepQueued || opt.way == byDevice && m.dev != torch.CPU {
		q, err := newQueue(t)
		if err != nil {
			return nil, fmt.Errorf("models: train: %w", err)
		}
		t.steps = q
	}
	if err := t.steps.within(t.newAdams); err != nil {
		t.close()
		return nil, fmt.Errorf("models: train: %w", err)
	}
	return t, nil
}

func (t *trainer) newAdams() error {
	for _, o := range t.m.optimizers() {
		g := &groupAdam{optimizer: o}
		for _, p := range t.m.params {
			if !p.buffer && slices.Contains(o.groups, p.group) {
				g.params, g.owned = append(g.params, p), append(g.owned, p.Owned)
			}
		}
		var err error
		if g.Adam, err = torch.NewAdam(g.owned, torch.DefaultAdam(o.lr)); err != nil {
			return err
		}
		t.adams = append(t.adams, g)
	}
	return nil
}

func (t *trainer) close() {
	t.steps.close()
	for _, a := range t.adams {
		a.Close()
	}
}

// optimizers returns the model's optimisers in the order in which they step.
func (m *Autoencoder) optimizers() []optimizer {
	switch m.cfg.Arch {
	case ArchAAE:
		return aaeOptimizers(m.cfg)
	case ArchAERes:
		return aeResOptimizers(m.cfg)
	case ArchAECon:
		return aeConOptimizers(m.cfg)
	}
	return aeOptimizers(m.cfg)
}

// objectives returns what the optimisers minimise over the images x, in the
// order of optimizers.
func (m *Autoencoder) objectives(p pass, x *torch.Tensor) []objective {
	switch m.cfg.Arch {
	case ArchAAE:
		return m.aaeObjectives(p, x)
	case ArchVAE:
		return m.vaeObjectives(p, x)
	case ArchAERes:
		return m.aeResObjectives(p, x)
	case ArchAECon:
		return m.aeConObjectives(p, x)
	}
	return m.aeObjectives(p, x)
}

// drawn is the noise of a step. It depends on the seed and the step alone, so
// that a training can go on in the middle.
func (t *trainer) drawn(step int) (noise, error) {
	g, err := torch.NewGenerator(rand.New(rand.NewPCG(t.m.cfg.Seed, ^uint64(step))).Uint64(), t.m.dev)
	return random{g}, err
}

// random draws from a generator.
type random struct{ g *torch.Generator }

func (r random) Close() error { return r.g.Close() }

func (r random) normal(s *torch.Scope, shape ...int) *torch.Tensor { return s.RandN(r.g, shape...) }

func (r random) dropout(x *torch.Tensor, p float64) *torch.Tensor { return x.Dropout(p, r.g) }

// place says where step number step, from 0, is: in which epoch, which of its steps it
// is, and how many images it takes.
func (t *trainer) place(step int) (epoch, k, images int) {
	n, size := t.set.Len(), t.m.cfg.Batch
	perEpoch := stepsPerEpoch(n, size)
	epoch, k = step/perEpoch, step%perEpoch
	return epoch, k, min(size, n-k*size)
}

// failed says in which step err came up.
func (t *trainer) failed(step int, err error) error {
	epoch, _, _ := t.place(step)
	return fmt.Errorf("models: train: epoch %d, step %d: %w", epoch+1, step+1, err)
}

// begin begins the next step.
func (t *trainer) begin() error {
	if err := t.steps.begin(); err != nil {
		return t.failed(t.step, err)
	}
	t.step++
	return nil
}

// advance does steps until their losses are to be read, or ctx ends, and reads them.
func (t *trainer) advance(ctx context.Context) error {
	err := t.steps.within(func() error {
		for t.step < t.res.Steps && ctx.Err() == nil {
			if err := t.begin(); err != nil || t.steps.due() {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.tell()
}

// tell reads the losses of the steps begun and reports them, and stores a checkpoint
// where it is time.
func (t *trainer) tell() error {
	all, err := t.steps.losses()
	if err != nil {
		return t.failed(t.step-1, err)
	}
	since, now := t.elapsed, time.Since(t.start)
	for i, losses := range all {
		if err := finite(losses); err != nil {
			return t.failed(t.told, err)
		}
		t.elapsed = since + (now-since)*time.Duration(i+1)/time.Duration(len(all))
		t.count(losses)
	}
	if t.opt.Checkpoint != "" && time.Since(t.saved) > t.opt.CheckpointEvery {
		if err := t.save(); err != nil {
			return err
		}
		t.saved = time.Now()
	}
	return nil
}

// count takes the losses of the next step that is told.
func (t *trainer) count(losses []Loss) {
	epoch, k, images := t.place(t.told)
	if k == 0 {
		t.mean = epochMean{}
	}
	t.told++
	t.seen += images
	t.mean.add(losses)
	means := t.mean.losses(losses)
	if epoch == 0 {
		t.first = means[0].Value
	}
	if t.opt.Progress != nil {
		t.opt.Progress(Progress{Step: t.told, Steps: t.res.Steps, Epoch: epoch + 1, Losses: losses,
			EpochLosses: means, Resumed: t.res.Resumed, Images: t.seen, Elapsed: t.elapsed})
	}
}

// finite returns an error if a loss is no number.
func finite(losses []Loss) error {
	for _, l := range losses {
		if math.IsNaN(l.Value) || math.IsInf(l.Value, 0) {
			return fmt.Errorf("%s loss is %v: %w", l.Name, l.Value, ErrDiverged)
		}
	}
	return nil
}

// finish does what comes after the last step.
func (t *trainer) finish(ctx context.Context) (Result, error) {
	if t.opt.Checkpoint != "" {
		// What follows, and what the caller does with the model, may be interrupted.
		if err := t.save(); err != nil {
			return t.res, err
		}
	}
	if t.m.cfg.Whiten {
		if err := t.m.whitenOver(ctx, t.set); err != nil {
			return t.res, err
		}
	}
	t.res.Seconds = time.Since(t.start).Seconds()
	t.res.FirstLoss, t.res.LastLoss = t.first, t.mean.first()
	return t.res, nil
}

// epochMean is the mean of losses over the steps of an epoch so far.
type epochMean struct {
	Sums  []float64
	Count int
}

// add takes the losses of a step.
func (e *epochMean) add(losses []Loss) {
	if len(e.Sums) != len(losses) {
		e.Sums = make([]float64, len(losses))
	}
	e.Count++
	for i, l := range losses {
		e.Sums[i] += l.Value
	}
}

// losses returns the means under the names of the losses.
func (e *epochMean) losses(names []Loss) []Loss {
	means := make([]Loss, len(names))
	for i, l := range names {
		means[i] = Loss{l.Name, e.Sums[i] / float64(e.Count)}
	}
	return means
}

// first returns the mean of the first loss, 0 before any step.
func (e *epochMean) first() float64 {
	if e.Count == 0 {
		return 0
	}
	return e.Sums[0] / float64(e.Count)
}

// stop keeps what was trained when the context has ended with err.
func (t *trainer) stop(err error) error {
	err = fmt.Errorf("models: train: stopped after step %d: %w", t.step, err)
	if t.opt.Checkpoint == "" {
		return err
	}
	return errors.Join(err, t.save())
}

// atOnce does each step when it is begun.
type atOnce struct {
	t    *trainer
	perm []int // order of the images in the current epoch
	last [][]Loss
}

func (a *atOnce) within(f func() error) error { return f() }

func (a *atOnce) begin() error {
	t := a.t
	epoch, k, images := t.place(t.step)
	if k == 0 || a.perm == nil {
		a.perm = permutation(t.set.Len(), t.m.cfg.Seed, epoch)
	}
	losses, err := t.train(a.perm[k*t.m.cfg.Batch:][:images])
	a.last = append(a.last, losses)
	return err
}

func (a *atOnce) due() bool { return true }

func (a *atOnce) losses() ([][]Loss, error) {
	last := a.last
	a.last = nil
	return last, nil
}

func (a *atOnce) close() error { return nil }

// train makes one step with the images ids and returns the losses of the batch.
func (t *trainer) train(ids []int) (losses []Loss, err error) {
	x := t.set.Gather(ids, t.batch)
	err = torch.Run(func() error {
		noise, err := t.noise(t.step)
		if err != nil {
			return err
		}
		defer noise.Close()
		s := torch.NewGradScope(t.m.dev)
		defer s.Close()
		return t.move(noise, s.FromFloats(x.Pix, x.N, x.C, x.H, x.W), func(values []part) error {
			for _, v := range values {
				losses = append(losses, Loss{v.name, float64(v.value.Item())})
			}
			return cmp.Or(s.Err(), finite(losses))
		})
	})
	return losses, err
}

// move makes one step with the images x (N, C, H, W) in a scope of their own: it
// computes all gradients at the same parameters and then lets the optimisers step in
// order. Before that, read is called with the losses; all else that is not needed any
// more is gone by then.
func (t *trainer) move(noise noise, x *torch.Tensor, read func(values []part) error) error {
	s := x.Scope()
	objectives := t.m.objectives(pass{s: s, noise: noise}, x)
	values := lossValues(objectives)
	keep := make([]*torch.Tensor, len(values))
	for i, v := range values {
		keep[i] = v.value
	}
	s.Release(keep...)
	if err := read(values); err != nil {
		return err
	}
	grads := make([][]*torch.Tensor, len(objectives))
	for i, o := range objectives {
		grads[i] = s.Grad(o.loss, t.adams[i].owned, i < len(objectives)-1)
	}
	for i, a := range t.adams {
		if err := a.Step(s, grads[i]); err != nil {
			return err
		}
	}
	return nil
}

// lossValues returns the loss of each objective, followed by its parts.
func lossValues(objectives []objective) []part {
	var all []part
	for _, o := range objectives {
		all = append(all, part{o.name, o.loss})
		for _, p := range o.parts {
			all = append(all, part{o.name + "/" + p.name, p.value})
		}
	}
	return all
}

// permutation returns the order of n images in an epoch, from 0. It depends on
// seed and epoch alone, so that a training can go on in the middle.
func permutation(n int, seed uint64, epoch int) []int {
	return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15+uint64(epoch))).Perm(n)
}
