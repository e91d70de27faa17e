// Command roofline measures what the machine gives at best, through the same
// library that the networks run on: products of 1024x1024 matrices and copying
// through memory; and with -dir what each stage of the main path takes on the
// data of a folder that bench/ours made. It prints a line of JSON, a
// results.Roof. All times are the best of several runs, which other work on the
// machine disturbs least.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/cgo/torch"
)

const (
	side   = 1024
	values = 64 << 20 // 256 MB, beyond every cache
	runs   = 12
)

func main() {
	threads := flag.Int("threads", 1, "threads to compute with")
	dir := flag.String("dir", "", "folder with data; none: the machine alone")
	flag.Parse()
	r, err := both(*threads, *dir)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "roofline:", err)
		os.Exit(1)
	}
}

// both measures the machine and, where dir has data, the stages. The machine is
// measured before and after, so that what it gives is no moment's bad luck.
func both(threads int, dir string) (results.Roof, error) {
	r, err := measure(threads)
	if err != nil || dir == "" {
		return r, err
	}
	if r.Stages, err = stages(context.Background(), dir, threads); err != nil {
		return r, err
	}
	after, err := measure(threads)
	r.GEMM, r.Copy = max(r.GEMM, after.GEMM), max(r.Copy, after.Copy)
	return r, err
}

func measure(threads int) (r results.Roof, err error) {
	r.Threads = threads
	if err := torch.SetThreads(threads); err != nil {
		return r, err
	}
	err = torch.Run(func() error {
		s := torch.NewScope(torch.CPU)
		a, b := s.Full(1.5, side, side), s.Full(.5, side, side)
		seconds, err := best(s, func() *torch.Tensor { return a.MatMul(b) }, a, b)
		r.GEMM = 2 * side * side * side / seconds / 1e9
		s.Close()
		return err
	})
	if err != nil {
		return r, err
	}
	err = torch.Run(func() error {
		s := torch.NewScope(torch.CPU)
		x := s.Full(1, values)
		seconds, err := best(s, func() *torch.Tensor { return x.Affine(1.5, 0) }, x)
		r.Copy = 2 * 4 * values / seconds / 1e9
		s.Close()
		return err
	})
	return r, err
}

// best returns the shortest time of f, whose result is freed after each run.
func best(s *torch.Scope, f func() *torch.Tensor, keep ...*torch.Tensor) (float64, error) {
	return shortest(func() error {
		f()
		return s.Err()
	}, func() { s.Release(keep...) })
}

// shortest returns the shortest time of f; after is called after each run.
func shortest(f func() error, after func()) (seconds float64, err error) {
	for i := range runs {
		start := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		if t := time.Since(start).Seconds(); i == 0 || t < seconds {
			seconds = t
		}
		after()
	}
	return seconds, nil
}
