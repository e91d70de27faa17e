package models

import (
	"context"
	"slices"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// A Training is one of those that TrainAll does.
type Training struct {
	Model   *Autoencoder
	Images  Images
	Options Options

	Result Result // set by TrainAll, as Train would return it
	Err    error
}

// TrainAll does several trainings, each as Train would, and ends when all have ended.
// One that fails leaves the others alone.
//
// A small model leaves most of a CUDA device idle, so that there they are done at once:
// each has a queue of its own, and their steps are begun by turns. On the CPU, which one
// training keeps busy, they come one after the other.
func TrainAll(ctx context.Context, all []*Training) {
	var live []*member
	for _, x := range all {
		if x.Model.dev == torch.CPU && x.Options.way < stepQueued {
			x.Result, x.Err = Train(ctx, x.Model, x.Images, x.Options)
			continue
		}
		t, err := openTrainer(x.Model, x.Images, x.Options)
		if x.Err = err; err != nil {
			continue
		}
		live = append(live, &member{Training: x, t: t, queue: t.steps.(*queue)})
	}
	defer func() { // also when a callback panics
		for _, x := range live {
			x.t.close()
		}
	}()
	for _, x := range live {
		x.t.res.Together = len(live)
		x.t.room = residentBytes / len(live)
	}
	for len(live) > 0 {
		beginAll(ctx, live)
		live = slices.DeleteFunc(live, func(x *member) bool { return x.tell(ctx) })
	}
}

// A member is a training among others.
type member struct {
	*Training
	t     *trainer
	queue *queue
	full  bool // its losses are to be read
}

// beginAll begins steps by turns until the losses of all are to be read, or ctx ends.
func beginAll(ctx context.Context, live []*member) {
	torch.Run(func() error {
		for left := true; left && ctx.Err() == nil; {
			left = false
			for _, x := range live {
				if x.full || x.Err != nil || x.t.step == x.t.res.Steps {
					continue
				}
				left = true
				x.Err = x.queue.stream.Do(x.t.begin)
				x.full = x.queue.due()
			}
		}
		return nil // each has its own
	})
}

// tell reads the losses of the steps begun, and ends the training where it is over.
func (x *member) tell(ctx context.Context) (over bool) {
	x.full, x.Result = false, x.t.res
	if x.Err == nil {
		x.Err = x.t.tell()
	}
	switch {
	case x.Err != nil:
	case x.t.step == x.t.res.Steps:
		x.Result, x.Err = x.t.finish(ctx)
	case ctx.Err() != nil:
		x.Err = x.t.stop(ctx.Err())
	default:
		return false
	}
	x.t.close()
	return true
}
