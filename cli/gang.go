package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/nlnctl/nlnctl/batch"
	"github.com/nlnctl/nlnctl/cgo/torch"
	ucli "github.com/urfave/cli/v2"
)

// allDevices is the --device of commands that start a process of their own for each
// CUDA device: one process computes on one.
const allDevices = "cuda:all"

// cudaNames returns the names of all CUDA devices, of which there is at least one.
// Tests replace it.
var cudaNames = func() ([]string, error) {
	n, err := torch.CUDADevices()
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, &hintedError{fmt.Errorf("--device %s: there is no CUDA device", allDevices), "\"nlnctl doctor\" says what there is; --device cpu needs none"}
	}
	names := make([]string, n)
	for i := range names {
		names[i] = torch.CUDA(i).String()
	}
	return names, nil
}

// gangFlags are deviceFlags of commands that take allDevices too.
func gangFlags() []ucli.Flag {
	flags := deviceFlags()
	f := flags[0].(*ucli.StringFlag)
	f.Usage = "compute on `cpu`, cuda, cuda:N, or cuda:all, with a process for each; auto takes a CUDA device if there is one"
	return flags
}

// gangArgs returns the arguments of the i'th of so many workers, on a device: those
// that the options of c say, with a share of the processors and a port of its own.
func gangArgs(c *ucli.Context, device string, i, workers int) ([]string, error) {
	threads := c.Int("threads")
	if threads == 0 {
		threads = max(1, runtime.NumCPU()/workers)
	}
	args := []string{"worker", "--device=" + device, fmt.Sprint("--threads=", threads)}
	for _, f := range append([]ucli.Flag{&ucli.StringFlag{Name: "precision"}, logFlag(), quietFlag()}, limitFlags()...) {
		name := f.Names()[0]
		if !c.IsSet(name) {
			continue
		}
		if globs := c.StringSlice(name); len(globs) > 0 {
			for _, g := range globs {
				args = append(args, "--"+name+"="+g)
			}
			continue
		}
		args = append(args, fmt.Sprintf("--%s=%v", name, c.Value(name)))
	}
	if c.Command.Name != "worker" {
		return append(args, "--drain"), nil
	}
	for _, f := range append(natsFlags(), workFlags()...) {
		name := f.Names()[0]
		if !c.IsSet(name) {
			continue
		}
		value := fmt.Sprint(c.Value(name))
		if s, ok := f.(*ucli.StringFlag); ok && slices.ContainsFunc(s.EnvVars, func(v string) bool { return os.Getenv(v) == value }) {
			continue // the worker sees it there, and others do not see it
		}
		if name == "metrics" {
			var err error
			if value, err = shifted(value, i); err != nil {
				return nil, badUsage(c, "--metrics: %w", err)
			}
		}
		args = append(args, "--"+name+"="+value)
	}
	return args, nil
}

// shifted returns the address with the i'th port after its own.
func shifted(addr string, i int) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(port)
	if err != nil || n == 0 { // a name, or any port that is free
		return addr, nil
	}
	return net.JoinHostPort(host, strconv.Itoa(n+i)), nil
}

// runGang starts a worker of the program on each CUDA device and waits for all. When
// ctx ends they are told to end too. login is how they reach the queue, as variables of
// their environment, if not as this process does.
func runGang(ctx context.Context, c *ucli.Context, env Env, login ...string) error {
	names, err := cudaNames()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var mu sync.Mutex // of env.Stderr
	var workers sync.WaitGroup
	errs := make([]error, len(names))
	for i, name := range names {
		args, err := gangArgs(c, name, i, len(names))
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, exe)
		cmd.Args = append([]string{"nlnctl"}, args...)
		cmd.Env = environment(login)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		out := &lines{w: env.Stderr, mu: &mu}
		if c.String("log-format") != "json" { // which a prefix would make none of
			out.prefix = name + ": "
		}
		cmd.Stdout, cmd.Stderr = out, out
		workers.Go(func() {
			errs[i] = cmd.Run()
			out.end()
		})
	}
	workers.Wait()
	return worst(ctx, names, errs)
}

// environment returns that of this process with another login to a queue.
func environment(login []string) []string {
	if len(login) == 0 {
		return os.Environ()
	}
	others := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NATS_") })
	return append(others, login...)
}

// worst returns the error of the worker that ended worst, nil where none did badly.
func worst(ctx context.Context, names []string, errs []error) error {
	var bad *workerError
	for i, err := range errs {
		var exit *exec.ExitError
		status := exitFailure
		switch {
		case err == nil, ctx.Err() != nil && errors.Is(err, ctx.Err()):
			continue // it ended well, having been told to
		case errors.As(err, &exit) && exit.ExitCode() > 0: // else a signal ended it
			status = exit.ExitCode()
		}
		if bad == nil || status > bad.status {
			bad = &workerError{names[i], status, err}
		}
	}
	if bad == nil {
		return nil
	}
	return bad
}

// A workerError says that the worker on a device did not end well.
type workerError struct {
	device string
	status int // of the process
	err    error
}

func (e *workerError) Error() string { return fmt.Sprintf("the worker on %s: %v", e.device, e.err) }
func (e *workerError) Unwrap() error { return e.err }

// lines writes whole lines, each with a prefix, between those of others.
type lines struct {
	w      io.Writer
	mu     *sync.Mutex
	prefix string
	rest   []byte // of a line that is not whole
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		at := bytes.IndexByte(l.rest, '\n')
		if at < 0 {
			return len(p), nil
		}
		if err := l.put(l.rest[:at+1]); err != nil {
			return len(p), err
		}
		l.rest = l.rest[at+1:]
	}
}

func (l *lines) put(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintf(l.w, "%s%s", l.prefix, line)
	return err
}

// end writes what is left, which ended without a line's end.
func (l *lines) end() {
	if len(l.rest) > 0 {
		l.put(append(l.rest, '\n'))
	}
}

// runPlanGang does a plan with a worker on each CUDA device, which get their shards
// from a queue in this process.
func runPlanGang(c *ucli.Context, env Env, dir string, st *batch.Store, p *batch.Plan) (sum batch.Summary, err error) {
	if _, err := cudaNames(); err != nil {
		return sum, err
	}
	q, err := batch.EmbedShared(dir)
	if err != nil {
		return sum, err
	}
	defer q.Close()
	url, token := q.Shared()
	return q.RunBy(c.Context, st, p, func(ctx context.Context) error {
		return runGang(ctx, c, env, "NATS_URL="+url, "NATS_TOKEN="+token)
	})
}
