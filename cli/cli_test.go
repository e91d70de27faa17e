package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nlnctl": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(Run(ctx, Env{Stdout: os.Stdout, Stderr: os.Stderr, Version: "test"}, os.Args[1:]))
	}})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NLN_CORE", os.Getenv("NLN_CORE"))
			e.Setenv("NLN_DATA", os.Getenv("NLN_DATA"))
			backbone, err := filepath.Abs("../models/testdata/backbone.pt")
			if err != nil {
				return err
			}
			e.Setenv("BACKBONE", backbone)
			return startStore(e)
		},
		Cmds:      map[string]func(ts *testscript.TestScript, neg bool, args []string){"upload": upload},
		Condition: func(cond string) (bool, error) { return cond == "data" && os.Getenv("NLN_DATA") != "", nil },
	})
}

// A buffer that calls hook once, when what was written contains text.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	text string
	hook func()
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if w.hook != nil && strings.Contains(w.b.String(), w.text) {
		go w.hook()
		w.hook = nil
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// An interrupt keeps what was learnt, and --resume goes on there.
func TestInterruptAndResume(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(ctx context.Context, stderr *watched, args ...string) int {
		return Run(ctx, Env{Stdout: io.Discard, Stderr: stderr}, args)
	}
	if code := run(t.Context(), &watched{}, "data", "synth", "-o", "glyphs", "--format", "idx", "--train", "200", "--test", "20"); code != 0 {
		t.Fatalf("synth: status %d", code)
	}
	args := []string{"train", "--data", "glyphs", "--steps", "100000", "--batch", "16", "-o", "b.nln"}
	ctx, cancel := context.WithCancel(t.Context())
	stderr := &watched{text: "training on", hook: func() {
		time.Sleep(time.Second)
		cancel()
	}}
	if code := run(ctx, stderr, args...); code != exitInterrupted {
		t.Fatalf("status %d, want %d:\n%s", code, exitInterrupted, stderr)
	}
	for _, want := range []string{"stopped after step ", "hint: repeat the command with --resume"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in:\n%s", want, stderr)
		}
	}
	if _, err := os.Stat("b.nln.checkpoint"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("b.nln"); err == nil {
		t.Error("there is a bundle after an interrupt")
	}
	stderr = &watched{}
	if code := run(t.Context(), stderr, args...); code != exitFailure || !strings.Contains(stderr.String(), "--resume") {
		t.Errorf("without --resume: status %d\n%s", code, stderr)
	}
	stderr = &watched{}
	if code := run(t.Context(), stderr, append(args, "--resume", "--latent", "8")...); code != exitFailure || !strings.Contains(stderr.String(), "of another training") {
		t.Errorf("another training: status %d\n%s", code, stderr)
	}
	// Fewer steps are the same training; one more step than was done ends it.
	found := regexp.MustCompile(`stopped after step (\d+)`)
	stderr = &watched{text: "training on", hook: nil}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	stderr.hook = func() { time.Sleep(time.Second / 2); cancel() }
	if code := run(ctx, stderr, append(args, "--resume")...); code != exitInterrupted {
		t.Fatalf("second interrupt: status %d\n%s", code, stderr)
	}
	if strings.Count(stderr.String(), "hint: repeat the command with --resume") != 1 {
		t.Errorf("no hint how to go on:\n%s", stderr)
	}
	m := found.FindStringSubmatch(stderr.String())
	if m == nil {
		t.Fatalf("no step in:\n%s", stderr)
	}
	done, _ := strconv.Atoi(m[1])
	args[4] = strconv.Itoa(done + 1)
	stderr = &watched{}
	if code := run(t.Context(), stderr, append(args, "--resume")...); code != 0 || !strings.Contains(stderr.String(), "trained 1 steps") || !strings.Contains(stderr.String(), "going on after step "+m[1]+"\n") {
		t.Errorf("resumed: status %d\n%s", code, stderr)
	}
	if _, err := os.Stat("b.nln.checkpoint"); err == nil {
		t.Error("the checkpoint is still there")
	}
	// The log has all steps, those before the interrupts too.
	rows, err := os.ReadFile("b.nln/training.csv")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(rows)), "\n")
	if lines[0] != "step,epoch,recon" || !strings.HasPrefix(lines[len(lines)-1], args[4]+",") {
		t.Errorf("log from %q to %q, want step %s at the end", lines[0], lines[len(lines)-1], args[4])
	}
	if first, _, _ := strings.Cut(lines[1], ","); done > 600 && first != "200" || len(lines) != 1+(done+200)/200 {
		t.Errorf("%d rows of %d steps, the first up to step %s", len(lines)-1, done+1, first)
	}
}

// An interrupt after the training, while the images are indexed, loses none of it.
func TestInterruptWhileIndexing(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(ctx context.Context, stderr *watched, args ...string) int {
		return Run(ctx, Env{Stdout: io.Discard, Stderr: stderr}, args)
	}
	if code := run(t.Context(), &watched{}, "data", "synth", "-o", "glyphs", "--format", "idx", "--train", "2500", "--test", "20"); code != 0 {
		t.Fatalf("synth: status %d", code)
	}
	args := []string{"train", "--data", "glyphs", "--steps", "3", "--batch", "16", "-o", "b.nln"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stderr := &watched{text: "trained 3 steps", hook: cancel}
	if code := run(ctx, stderr, args...); code != exitInterrupted || !strings.Contains(stderr.String(), "hint: repeat the command with --resume") {
		t.Fatalf("status %d, want %d:\n%s", code, exitInterrupted, stderr)
	}
	stderr = &watched{}
	if code := run(t.Context(), stderr, append(args, "--resume")...); code != 0 || !strings.Contains(stderr.String(), "trained 0 steps") {
		t.Errorf("resumed: status %d\n%s", code, stderr)
	}
	rows, err := os.ReadFile("b.nln/training.csv")
	if err != nil || strings.Count(string(rows), "\n") != 4 {
		t.Errorf("log %q, %v, want a header and 3 steps", rows, err)
	}
}

// An interrupt ends scoring with its status, without a file of half the rows under
// the name of all and without goroutines that go on.
func TestInterruptScoring(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"data", "synth", "-o", "glyphs", "--format", "idx", "--train", "200", "--test", "20"},
		{"train", "--data", "glyphs", "--steps", "1", "--batch", "16", "-o", "b.nln"},
		{"data", "synth", "-o", "parts", "--size", "28", "--train", "1", "--test", "7"},
	} {
		if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: io.Discard}, args); code != exitOK {
			t.Fatalf("%v: status %d", args, code)
		}
	}
	args := append([]string{"score", "-m", "b.nln", "-o", "rows.jsonl"}, slices.Repeat([]string{"parts/test/good/000.png"}, 50_000)...)
	noLeak(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stderr := &watched{text: "scoring 50000 images", hook: cancel}
	if code := Run(ctx, Env{Stdout: io.Discard, Stderr: stderr}, args); code != exitInterrupted {
		t.Fatalf("status %d, want %d:\n%s", code, exitInterrupted, stderr)
	}
	if !strings.Contains(stderr.String(), "context canceled") {
		t.Errorf("no reason in:\n%s", stderr)
	}
	if _, err := os.Stat("rows.jsonl"); err == nil {
		t.Error("there is a file of rows after an interrupt")
	}
	files, err := os.ReadDir(".")
	if left, _ := filepath.Glob("rows.jsonl.partial*"); err != nil || len(files) != 3+len(left) || len(left) == 1 {
		t.Errorf("%d files left: %v", len(files), err)
	}
}
