// Command ours is this project's side of the benchmarks. It uses the public
// packages alone, as any program could.
//
//	ours -task prepare -dir DIR -source SPEC -preset P ...   makes the folder that both sides read
//	ours -task train|search|score -dir DIR -answer FILE      a worker, see package workload
//	ours -task load                                          loads the native core and ends, to see what that takes
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nlnctl/nlnctl/bench/workload"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
)

// A worker does one task. check computes the answer and warms up; work does
// what one call of the task is and returns the images or queries it took.
type worker interface {
	check(ctx context.Context) (workload.Answer, error)
	work(ctx context.Context, req workload.Request) (units int, err error)
	close()
}

// batch is how many images or queries a call takes, on all sides.
const batch = 1024

func main() {
	var p preparation
	task := flag.String("task", "", "prepare, train, search, score or load")
	dir := flag.String("dir", "", "the folder")
	answer := flag.String("answer", "", "file to write the answer to")
	threads := flag.Int("threads", 1, "threads to compute with")
	flag.StringVar(&p.source, "source", "", "data set, or synth: for generated images")
	flag.StringVar(&p.preset, "preset", "paper", "preset of the model")
	flag.IntVar(&p.latent, "latent", 32, "values in a latent vector")
	flag.IntVar(&p.channels, "channels", 1, "channels of generated images")
	flag.IntVar(&p.images, "images", 38400, "images to train on")
	flag.BoolVar(&p.trainOnly, "train-only", false, "leave out the index and the bundle")
	flag.Parse()
	if err := run(context.Background(), *task, *dir, *answer, *threads, p); err != nil {
		fmt.Fprintln(os.Stderr, "ours:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, task, dir, answer string, threads int, p preparation) error {
	if err := torch.SetThreads(threads); err != nil {
		return err
	}
	if err := torch.Load(); err != nil {
		return err
	}
	open := map[string]func(dir string) (worker, error){"train": newTrainer, "search": newSearcher, "score": newScorer}[task]
	switch {
	case task == "load":
		return nil
	case task == "prepare":
		return p.run(ctx, dir)
	case open == nil:
		return fmt.Errorf("unknown task %q", task)
	}
	w, err := open(dir)
	if err != nil {
		return err
	}
	defer w.close()
	a, err := w.check(ctx)
	if err != nil {
		return err
	}
	if err := workload.WriteJSON(answer, a); err != nil {
		return err
	}
	return serve(ctx, w, os.Stdin, os.Stdout)
}

// serve answers requests until in ends.
func serve(ctx context.Context, w worker, in io.Reader, out io.Writer) error {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	if err := replies.Encode(workload.Reply{}); err != nil {
		return err
	}
	for {
		var req workload.Request
		if err := requests.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		reply, err := timed(ctx, w, req)
		if err != nil {
			return err
		}
		if err := replies.Encode(reply); err != nil {
			return err
		}
	}
}

// timed works for as long as was asked for, one call at least.
func timed(ctx context.Context, w worker, req workload.Request) (r workload.Reply, err error) {
	for start := time.Now(); r.Units == 0 || r.Seconds < req.Seconds; r.Seconds = time.Since(start).Seconds() {
		n, err := w.work(ctx, req)
		if err != nil {
			return r, err
		}
		r.Units += n
	}
	return r, nil
}

// A cycle gives batches of rows of a table one after the other, from the
// beginning again after the last.
type cycle struct {
	rows []float32
	dim  int
	at   int
}

// next returns the next n rows.
func (c *cycle) next(n int) []float32 {
	if (c.at+n)*c.dim > len(c.rows) {
		c.at = 0
	}
	c.at += n
	return c.rows[(c.at-n)*c.dim : c.at*c.dim]
}

func shape(m workload.Meta) dataset.Shape {
	return dataset.Shape{C: m.Shape[0], H: m.Shape[1], W: m.Shape[2]}
}
