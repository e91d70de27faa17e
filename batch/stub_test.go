package batch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A row of the stub job's results.
type row struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

// A stub is a Job whose rows depend on names alone: one with "bad" in it is bad, one
// with "novel" is novel. It is configured by JSON, as it runs in other processes too.
type stub struct {
	Slow  time.Duration `json:"slow"`  // each shard takes so long
	Crash int           `json:"crash"` // shard that ends the process, from 1
	Fail  int           `json:"fail"`  // shard that is an error, from 1
	Hang  int           `json:"hang"`  // shard that does not end, from 1
	Deaf  bool          `json:"deaf"`  // and does not hear either
	Pad   int           `json:"pad"`   // bytes of each row besides
	Begun string        `json:"begun"` // folder for a file for each shard begun

	calls atomic.Int64
	over  chan struct{} // ends what is deaf
}

func (s *stub) Do(ctx context.Context, sh Shard, w io.Writer) (Counts, error) {
	s.calls.Add(1)
	if s.Begun != "" {
		os.WriteFile(filepath.Join(s.Begun, fmt.Sprintf("%d-%d-%d", sh.Index, os.Getpid(), s.calls.Load())), nil, 0o644)
	}
	switch sh.Index + 1 {
	case s.Crash:
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case s.Fail:
		return Counts{}, errors.New("the stub does not like it")
	case s.Hang:
		if s.Deaf {
			<-s.over
		}
		<-ctx.Done()
		return Counts{}, ctx.Err()
	}
	if s.Slow > 0 {
		select {
		case <-time.After(s.Slow):
		case <-ctx.Done():
			return Counts{}, ctx.Err()
		}
	}
	return s.rows(ctx, sh, "", w)
}

func (s *stub) GiveUp(ctx context.Context, sh Shard, reason string, w io.Writer) (Counts, error) {
	return s.rows(ctx, sh, "shard failed: "+reason, w)
}

func (s *stub) rows(ctx context.Context, sh Shard, status string, w io.Writer) (Counts, error) {
	var c Counts
	enc := json.NewEncoder(w)
	for _, name := range sh.Items {
		r := row{name, "ok" + strings.Repeat(" ", s.Pad)}
		if strings.Contains(name, "bad") {
			r.Status = "bad"
		}
		if status != "" {
			r.Status = status
		}
		c.add(countOf(r))
		if err := enc.Encode(r); err != nil {
			return c, err
		}
		Advance(ctx, 1)
	}
	return c, nil
}

func countOf(r row) Counts {
	c := Counts{Rows: 1}
	if strings.HasPrefix(r.Status, "ok") {
		c.OK = 1
		if strings.Contains(r.Name, "novel") {
			c.Novel = 1
		}
	} else {
		c.Bad = 1
	}
	return c
}

func (s *stub) Recount(_ context.Context, _ Shard, r io.ReaderAt, size int64) (Counts, error) {
	var c Counts
	for dec := json.NewDecoder(io.NewSectionReader(r, 0, size)); ; {
		var x row
		if err := dec.Decode(&x); err == io.EOF {
			return c, nil
		} else if err != nil {
			return c, err
		}
		c.add(countOf(x))
	}
}

// names yields n names: the 3rd of each ten is novel, and the 7th of each hundred bad.
func names(n int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range n {
			name := fmt.Sprintf("folder/%03d/picture-%09d.jpg", i%997, i)
			if i%10 == 3 {
				name += ".novel"
			}
			if i%100 == 7 {
				name += ".bad"
			}
			if !yield(name, nil) {
				return
			}
		}
	}
}

func spec(output string, size int) Spec {
	return Spec{Input: "in", Output: output, Model: "model", Digest: "abc", ShardSize: size, Kind: Images, Options: map[string]string{"k": "5"}}
}

// makePlan returns a store with a plan of n names.
func makePlan(t testing.TB, location string, n, size int) (*Store, *Plan) {
	t.Helper()
	st, err := OpenStore(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	p, err := MakePlan(t.Context(), st, spec(location, size), names(n), "test")
	if err != nil {
		t.Fatal(err)
	}
	return st, p
}

// opener opens plans for a stub.
func opener(j Job) func(context.Context, string) (*Plan, *Store, Job, error) {
	return func(ctx context.Context, output string) (*Plan, *Store, Job, error) {
		st, err := OpenStore(ctx, output)
		if err != nil {
			return nil, nil, nil, err
		}
		p, err := OpenPlan(ctx, st)
		if err != nil {
			st.Close()
			return nil, nil, nil, err
		}
		return p, st, j, nil
	}
}

// checkDone fails unless each item of the plan has one row in the results, and the
// counts say what these rows do. failed are shards whose rows say so.
func checkDone(t *testing.T, st *Store, p *Plan, n int, failed ...int) Summary {
	t.Helper()
	sum, err := Finalize(t.Context(), st, p)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	var have Counts
	var broken []int
	for key, err := range Results(t.Context(), st, p) {
		if err != nil {
			t.Fatal(err)
		}
		index, _ := resultIndex(key)
		r, err := st.Open(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for dec := json.NewDecoder(bufio.NewReader(r)); ; {
			var x row
			if err := dec.Decode(&x); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			seen[x.Name]++
			have.add(countOf(x))
			if strings.HasPrefix(x.Status, "shard failed") && !slices.Contains(broken, index) {
				broken = append(broken, index)
			}
		}
		r.Close()
	}
	for name := range names(n) {
		if seen[name] != 1 {
			t.Fatalf("%s has %d rows", name, seen[name])
		}
	}
	if len(seen) != n || have != sum.Counts || have.Rows != int64(n) || sum.Failed != len(failed) || !slices.Equal(broken, failed) {
		t.Fatalf("%d names, rows %+v, summary %+v, failed shards %v, want %v", len(seen), have, sum, broken, failed)
	}
	if ok, _ := st.exists(t.Context(), successKey); !ok {
		t.Error("there is no " + successKey)
	}
	return sum
}

// alone fails the test if a goroutine of this package or of a queue is left.
func alone(t *testing.T) {
	t.Cleanup(func() {
		var text string
		for range 100 {
			buf := make([]byte, 1<<20)
			text = ""
			for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(g, "nats-io") || strings.Contains(g, "nlnctl/batch.") && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "testing.(*T)") {
					text += g + "\n\n"
				}
			}
			if text == "" {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("goroutines are left:\n%s", text)
	})
}

func embed(t testing.TB, dir string) *Queue {
	t.Helper()
	q, err := Embed(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// A child is another process: this test binary with a role.
type child struct {
	*exec.Cmd
	t   *testing.T
	mu  sync.Mutex
	out strings.Builder
	end chan error
}

type job struct {
	Role   string // worker, server or run
	URL    string
	Dir    string // of a server's or an embedded queue
	Port   int
	Output string
	Lease  time.Duration
	Tries  int
	Drain  bool
	Limit  uint64 // RLIMIT_FSIZE
	Stub   *stub
}

func start(t *testing.T, j job) *child {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: exec.Command(os.Args[0], "-test.run=^$"), t: t, end: make(chan error, 1)}
	c.Env = append(os.Environ(), "BATCH_TEST_ROLE="+string(text))
	c.Stdout, c.Stderr = c, c
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.end <- c.Wait() }()
	t.Cleanup(func() {
		c.Process.Kill()
		select {
		case <-c.end:
		case <-time.After(10 * time.Second):
			t.Error("a process is left")
		}
		if t.Failed() {
			t.Logf("%s %d said:\n%s", j.Role, c.Process.Pid, c.text())
		}
	})
	return c
}

func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *child) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// wait returns how the process ended.
func (c *child) wait(most time.Duration) error {
	c.t.Helper()
	select {
	case err := <-c.end:
		c.end <- err
		return err
	case <-time.After(most):
		c.t.Fatalf("the process did not end within %v", most)
		return nil
	}
}

// until waits for something.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(45 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}
