package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
)

// A trainer goes on training the folder's model. models.Train calls back after
// each step, and there it waits for the next request.
type trainer struct {
	model *models.Autoencoder
	set   *dataset.Set
	step  chan struct{} // from work: make a step
	done  chan error    // to work: it is made
	stop  context.CancelFunc
}

func newTrainer(dir string) (worker, error) {
	meta, err := workload.ReadMeta(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, workload.WeightsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &trainer{step: make(chan struct{}), done: make(chan error, 1)}
	if t.model, err = models.Load(f, torch.CPU); err != nil {
		return nil, err
	}
	t.set = &dataset.Set{Name: meta.Data, Size: shape(meta)}
	if t.set.Pix, err = os.ReadFile(filepath.Join(dir, workload.TrainBytes)); err != nil {
		return nil, err
	}
	return t, t.set.Check()
}

func (t *trainer) check(ctx context.Context) (a workload.Answer, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := make([]int, workload.AnswerImages)
	for i := range first {
		first[i] = i
	}
	_, err = models.Train(ctx, t.model, t.set.Subset(first), models.Options{Progress: func(p models.Progress) {
		a.Losses = append(a.Losses, p.Losses[0].Value)
		if len(a.Losses) == workload.AnswerSteps {
			cancel()
		}
	}})
	if len(a.Losses) < workload.AnswerSteps {
		return a, fmt.Errorf("train: %d steps, want %d: %w", len(a.Losses), workload.AnswerSteps, err)
	}
	var running context.Context
	running, t.stop = context.WithCancel(context.Background())
	go t.train(running)
	_, err = t.work(ctx, workload.Request{}) // memory is taken in the first step
	return a, err
}

// train trains until ctx ends, each step when it is asked for.
func (t *trainer) train(ctx context.Context) {
	<-t.step
	for {
		_, err := models.Train(ctx, t.model, t.set, models.Options{Progress: func(models.Progress) {
			t.done <- nil
			select {
			case <-t.step:
			case <-ctx.Done():
			}
		}})
		if err != nil {
			t.done <- err
			return
		}
	}
}

// work makes one step.
func (t *trainer) work(context.Context, workload.Request) (int, error) {
	t.step <- struct{}{}
	return min(t.model.Config().Batch, t.set.Len()), <-t.done
}

func (t *trainer) close() {
	if t.stop != nil {
		t.stop()
		<-t.done // of the step that the context ended
	}
	t.model.Close()
}
