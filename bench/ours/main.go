// Command ours is this project's side of the benchmarks. It uses the public
// packages alone, as any program could.
//
//	ours -task prepare -dir DIR -source SPEC -preset P ...   makes the folder that both sides read
//	ours -task train|search|score -dir DIR -answer FILE      a worker, see package workload
//	ours -task pictures -dir DIR -pictures OUT -count N      writes image files like those to be scored
//	ours -task megapixels -pictures OUT -count N             writes large PNG and JPEG files
//	ours -task stages -pictures OUT -answer FILE ...         measures the stages of scoring files, each alone
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
	var s stages
	task := flag.String("task", "", "prepare, train, search, score, pictures, megapixels, stages or load")
	flag.StringVar(&s.dir, "dir", "", "the folder")
	answer := flag.String("answer", "", "file to write the answer to")
	flag.IntVar(&s.threads, "threads", 1, "threads to compute with")
	flag.StringVar(&s.pictures, "pictures", "", "folder of image files")
	flag.StringVar(&s.rows, "rows", "", "what nlnctl score wrote about them, in the same order")
	flag.IntVar(&s.passes, "passes", 1, "over the image files")
	count := flag.Int("count", 1, "image files to write")
	flag.StringVar(&p.source, "source", "", "data set, or synth: for generated images")
	flag.StringVar(&p.preset, "preset", "paper", "preset of the model")
	flag.IntVar(&p.latent, "latent", 32, "values in a latent vector")
	flag.IntVar(&p.channels, "channels", 1, "channels of generated images")
	flag.IntVar(&p.images, "images", 51200, "images to train on")
	flag.BoolVar(&p.trainOnly, "train-only", false, "leave out the index and the bundle")
	flag.Parse()
	if err := run(context.Background(), *task, *answer, *count, s, p); err != nil {
		fmt.Fprintln(os.Stderr, "ours:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, task, answer string, count int, s stages, p preparation) error {
	if err := torch.SetThreads(s.threads); err != nil {
		return err
	}
	if err := torch.Load(); err != nil {
		return err
	}
	switch task {
	case "load":
		return nil
	case "prepare":
		return p.run(ctx, s.dir)
	case "pictures":
		return writePictures(s.dir, s.pictures, count)
	case "megapixels":
		return writeMegapixels(s.pictures, count)
	case "stages":
		found, err := s.run(ctx)
		if err != nil {
			return err
		}
		return workload.WriteJSON(answer, found)
	}
	open := map[string]func(dir string) (worker, error){"train": newTrainer, "search": newSearcher, "score": newScorer}[task]
	if open == nil {
		return fmt.Errorf("unknown task %q", task)
	}
	return work(ctx, open, s.dir, answer)
}

// work is a worker from its start to its end.
func work(ctx context.Context, open func(dir string) (worker, error), dir, answer string) error {
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
