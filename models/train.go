package models

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// Options say how Train reports and keeps its state.
type Options struct {
	// Progress, if set, is called after each step.
	Progress func(Progress)

	// Checkpoint, if set, names a file from which Train goes on if it is there,
	// and in which it stores its state every CheckpointEvery (0: two minutes)
	// and when the context ends. The caller removes it when it has saved the
	// model.
	Checkpoint      string
	CheckpointEvery time.Duration
}

// Progress is how far a training is.
type Progress struct {
	Step, Steps int
	Epoch       int     // of the step, from 1
	Loss        float64 // of the step's batch
	EpochLoss   float64 // mean over the steps of this epoch so far
	Resumed     int     // steps that were done before this run
	Elapsed     time.Duration
}

// A Result says what a training did.
type Result struct {
	Steps     int     `json:"steps"`
	Images    int     `json:"images"` // in the training set
	Seconds   float64 `json:"seconds"`
	FirstLoss float64 `json:"first_loss"` // mean over the first epoch of this run
	LastLoss  float64 `json:"last_loss"`  // mean over the last epoch
	Resumed   int     `json:"resumed_at_step,omitempty"`
}

// ErrDiverged is wrapped by Train's error when the loss is no longer a number.
var ErrDiverged = errors.New("the loss is no longer finite; try a smaller learning rate")

// Train trains m on the images of set, which must hold normal images only, as
// its Config says: each epoch goes through a new random permutation of them, and
// the last, smaller batch is kept. Equal configurations and sets give equal
// weights on one machine with one number of threads, also over a checkpoint.
//
// When ctx ends, Train stores a checkpoint if it was given a place for it and
// returns an error that wraps ctx.Err().
func Train(ctx context.Context, m *Autoencoder, set *dataset.Set, opt Options) (Result, error) {
	t, err := newTrainer(m, set, opt)
	if err != nil {
		return Result{}, err
	}
	defer t.adam.Close()
	if err := t.resume(); err != nil {
		return Result{}, err
	}
	return t.run(ctx)
}

// trainer is a training under way.
type trainer struct {
	m     *Autoencoder
	set   *dataset.Set
	opt   Options
	adam  *torch.Adam
	own   []*torch.Owned // the parameters
	step  int            // steps done
	perm  []int          // order of the images in the current epoch
	batch []float32      // pixels of one batch
}

func newTrainer(m *Autoencoder, set *dataset.Set, opt Options) (*trainer, error) {
	if set.Shape() != m.cfg.Shape {
		return nil, fmt.Errorf("models: train: %s has images of %v, the model takes %v", set.Name, set.Shape(), m.cfg.Shape)
	}
	if set.Len() == 0 {
		return nil, fmt.Errorf("models: train: %s holds no images", set.Name)
	}
	if opt.CheckpointEvery == 0 {
		opt.CheckpointEvery = 2 * time.Minute
	}
	t := &trainer{m: m, set: set, opt: opt, batch: make([]float32, min(m.cfg.Batch, set.Len())*m.cfg.Shape.Len())}
	for _, p := range m.params {
		t.own = append(t.own, p.Owned)
	}
	var err error
	if t.adam, err = torch.NewAdam(t.own, torch.DefaultAdam(m.cfg.LR)); err != nil {
		return nil, fmt.Errorf("models: train: %w", err)
	}
	return t, nil
}

func (t *trainer) run(ctx context.Context) (Result, error) {
	n, size := t.set.Len(), t.m.cfg.Batch
	perEpoch := stepsPerEpoch(n, size)
	res := Result{Steps: t.m.cfg.TotalSteps(n), Images: n, Resumed: t.step}
	start, saved := time.Now(), time.Now()
	var sum float64
	var count int
	for t.step < res.Steps {
		if err := ctx.Err(); err != nil {
			return res, t.stop(err)
		}
		epoch, k := t.step/perEpoch, t.step%perEpoch
		if k == 0 || t.perm == nil {
			t.perm = permutation(n, t.m.cfg.Seed, epoch)
			sum, count = 0, 0
		}
		loss, err := t.train(t.perm[k*size : min((k+1)*size, n)])
		if err != nil {
			return res, fmt.Errorf("models: train: step %d: %w", t.step+1, err)
		}
		t.step++
		sum, count = sum+loss, count+1
		res.LastLoss = sum / float64(count)
		if epoch == res.Resumed/perEpoch {
			res.FirstLoss = res.LastLoss
		}
		if t.opt.Progress != nil {
			t.opt.Progress(Progress{Step: t.step, Steps: res.Steps, Epoch: epoch + 1, Loss: loss,
				EpochLoss: res.LastLoss, Resumed: res.Resumed, Elapsed: time.Since(start)})
		}
		if t.opt.Checkpoint != "" && time.Since(saved) > t.opt.CheckpointEvery {
			if err := t.save(); err != nil {
				return res, err
			}
			saved = time.Now()
		}
	}
	res.Seconds = time.Since(start).Seconds()
	return res, nil
}

// stop keeps what was trained when the context has ended with err.
func (t *trainer) stop(err error) error {
	err = fmt.Errorf("models: train: stopped after step %d: %w", t.step, err)
	if t.opt.Checkpoint == "" {
		return err
	}
	return errors.Join(err, t.save())
}

// train makes one step with the images ids and returns their mean loss.
func (t *trainer) train(ids []int) (loss float64, err error) {
	x := t.set.Gather(ids, t.batch)
	err = torch.Run(func() error {
		s := torch.NewGradScope(t.m.dev)
		defer s.Close()
		l := t.m.loss(s, s.FromFloats(x.Pix, x.N, x.C, x.H, x.W))
		s.Release(l)
		loss = float64(l.Item())
		if s.Err() == nil && (math.IsNaN(loss) || math.IsInf(loss, 0)) {
			return ErrDiverged
		}
		return t.adam.Step(s, s.Grad(l, t.own, false))
	})
	return loss, err
}

// loss returns the reconstruction loss of the images x, a mean over images,
// pixels and channels.
func (m *Autoencoder) loss(s *torch.Scope, x *torch.Tensor) *torch.Tensor {
	logits := m.decoder.apply(s, m.encoder.apply(s, x))
	switch m.cfg.Loss {
	case LossBCE:
		return logits.BCEWithLogitsLoss(x)
	case LossL1:
		return logits.Sigmoid().L1Loss(x)
	}
	return logits.Sigmoid().MSELoss(x)
}

// permutation returns the order of n images in an epoch, from 0. It depends on
// seed and epoch alone, so that a training can go on in the middle.
func permutation(n int, seed uint64, epoch int) []int {
	return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15+uint64(epoch))).Perm(n)
}
