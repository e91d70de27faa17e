package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/nlnctl/nlnctl/bench/workload"
	"golang.org/x/sys/unix"
)

// pinned returns a command that runs on the first n processors which this
// process may use: both sides have the same, and no more than their threads.
func pinned(ctx context.Context, n int, argv ...string) (*exec.Cmd, error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("compare: ask for processors: %w", err)
	}
	var list []string
	for cpu := 0; len(list) < n && cpu < 8*len(allowed)*8; cpu++ {
		if allowed.IsSet(cpu) {
			list = append(list, strconv.Itoa(cpu))
		}
	}
	if len(list) < n {
		return nil, fmt.Errorf("compare: have %d processors, want %d", len(list), n)
	}
	return exec.CommandContext(ctx, "taskset", append([]string{"-c", strings.Join(list, ",")}, argv...)...), nil
}

// launch runs a command to its end and returns what it printed; an error holds
// the last of what it said.
func launch(ctx context.Context, n int, argv ...string) ([]byte, *os.ProcessState, error) {
	cmd, err := pinned(ctx, n, argv...)
	if err != nil {
		return nil, nil, err
	}
	var said tail
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return out, cmd.ProcessState, fmt.Errorf("compare: %s: %w\n%s", strings.Join(argv, " "), err, said.text)
	}
	return out, cmd.ProcessState, nil
}

// A tail keeps the last of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4000
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-most):]
	return len(p), nil
}

// peakMB returns the largest resident memory of a process that ended, in MB.
func peakMB(s *os.ProcessState) float64 {
	u, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(u.Maxrss) * 1024 / 1e6 // Linux counts in units of 1024 bytes
}

// A worker is a process of either side; see package workload.
type worker struct {
	way      way
	cmd      *exec.Cmd
	said     tail
	stdin    io.Closer
	requests *json.Encoder
	replies  *json.Decoder
	answer   workload.Answer
	recall   float64 // of a search that is not exact
}

// startWorker starts a worker and waits until it is ready.
func startWorker(ctx context.Context, w way, threads int, answer string, argv ...string) (*worker, error) {
	cmd, err := pinned(ctx, threads, append(argv, "--answer", answer, "--threads", strconv.Itoa(threads))...)
	if err != nil {
		return nil, err
	}
	p := &worker{way: w, cmd: cmd}
	cmd.Stderr = &p.said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("compare: start %s: %w", w.name, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("compare: start %s: %w", w.name, err)
	}
	p.stdin, p.requests, p.replies = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("compare: start %s: %w", w.name, err)
	}
	var ready workload.Reply
	err = p.replies.Decode(&ready)
	if err == nil {
		err = workload.ReadJSON(answer, &p.answer)
	}
	if err != nil {
		return nil, p.failed(err)
	}
	return p, nil
}

// ask has the worker work.
func (p *worker) ask(req workload.Request) (r workload.Reply, err error) {
	if err = p.requests.Encode(req); err == nil {
		err = p.replies.Decode(&r)
	}
	if err != nil {
		return r, p.failed(err)
	}
	return r, nil
}

// failed ends the worker and returns an error that says what it said.
func (p *worker) failed(err error) error {
	_, end := p.close()
	return fmt.Errorf("compare: %s: %w\n%s", p.way.name, errors.Join(err, end), p.said.text)
}

// close ends the worker and returns its largest resident memory in MB.
func (p *worker) close() (peak float64, err error) {
	p.stdin.Close()
	err = p.cmd.Wait()
	return peakMB(p.cmd.ProcessState), err
}
