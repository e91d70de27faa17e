package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	ucli "github.com/urfave/cli/v2"
)

// twoDevices has --device cuda:all start workers on the processor.
func twoDevices(t *testing.T) {
	t.Helper()
	before := cudaNames
	cudaNames = func() ([]string, error) { return []string{"cpu", "cpu"}, nil }
	t.Cleanup(func() { cudaNames = before })
}

// gangRun runs the program in this process and returns its status and what it said.
func gangRun(t *testing.T, args ...string) (status int, said string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = Run(t.Context(), Env{Stdout: &out, Stderr: &errs, Version: "test"}, args)
	return status, out.String() + errs.String()
}

// Two processes share the shards of one plan, each image exactly once.
func TestGang(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	inProcess(t, "data", "synth", "-o", "parts", "--size", "28", "--train", "30", "--test", "7")
	inProcess(t, "train", "--data", "mvtec:parts", "--steps", "2", "--batch", "8", "--quiet", "-o", "b.nln")
	if err := os.Mkdir("many", 0o755); err != nil {
		t.Fatal(err)
	}
	const images = 4800 // some seconds for one process, so that the other has begun before they are done
	for i := range images {
		if err := os.Link("parts/test/good/000.png", fmt.Sprintf("many/%05d.png", i)); err != nil {
			t.Fatal(err)
		}
	}
	twoDevices(t)
	status, said := gangRun(t, "batch", "run", "-m", "b.nln", "--input", "many", "-o", "out", "--shard-size", "400", "--device", "cuda:all", "--exclude", "*/nothing/*")
	if status != exitOK || strings.Count(said, "cpu: ") < 12 || strings.Count(said, "msg=opened") != 2 || !strings.Contains(said, fmt.Sprintf("%d images", images)) {
		t.Errorf("status %d:\n%s", status, said)
	}
	rows := batchRows(t, "out")
	if len(rows) != images {
		t.Errorf("%d images have rows, want %d", len(rows), images)
	}
	for name, n := range rows {
		if n != 1 {
			t.Errorf("%s has %d rows", name, n)
		}
	}
	url := natsServer(t)
	inProcess(t, "batch", "submit", "-m", "b.nln", "--input", "many", "-o", "out2", "--shard-size", "800", "--nats", url)
	if status, said := gangRun(t, "worker", "--nats", url, "--drain", "--device", "cuda:all", "--log-format", "json"); status != exitOK || strings.Contains(said, "cpu: ") || !strings.Contains(said, `"device":"cpu"`) {
		t.Errorf("status %d:\n%s", status, said)
	}
	if said := inProcessOut(t, "batch", "status", "out2"); !strings.Contains(said, "6 of 6 shards done") {
		t.Errorf("status of the plan:\n%s", said)
	}
	if status, said := gangRun(t, "worker", "--nats", "nats://127.0.0.1:1", "--device=cuda:all"); status != exitFailure || !strings.Contains(said, "the worker on cpu: exit status 1") {
		t.Errorf("without a server: status %d:\n%s", status, said)
	}
}

func TestGangWithoutCUDA(t *testing.T) {
	if names, err := cudaNames(); err == nil {
		t.Skipf("there are %v", names)
	}
	status, said := gangRun(t, "worker", "--nats", "nats://127.0.0.1:1", "--device", "cuda:all")
	if status != exitFailure || !strings.Contains(said, "there is no CUDA device") || !strings.Contains(said, "hint: ") {
		t.Errorf("status %d: %s", status, said)
	}
	status, said = gangRun(t, "score", "-m", "none.nln", "--device", "cuda:all", "a.png")
	if status == exitOK || !strings.Contains(said, "none.nln") {
		t.Errorf("score: status %d: %s", status, said)
	}
}

// The worst end counts, and workers that were told to end have ended well.
func TestWorst(t *testing.T) {
	ended := func(status int) error {
		return exec.Command("sh", "-c", fmt.Sprint("exit ", status)).Run()
	}
	ctx, cancel := context.WithCancel(t.Context())
	names := []string{"a", "b", "c"}
	var w *workerError
	if err := worst(ctx, names, []error{nil, ended(1), ended(3)}); !errors.As(err, &w) || w.status != 3 || w.device != "c" {
		t.Errorf("error %v", err)
	}
	if err := worst(ctx, names, []error{nil, nil, nil}); err != nil {
		t.Errorf("error %v", err)
	}
	cancel()
	if err := worst(ctx, names, []error{nil, ctx.Err(), nil}); err != nil {
		t.Errorf("told to end: error %v", err)
	}
}

func TestGangArgs(t *testing.T) {
	t.Setenv("NATS_PASSWORD", "secret")
	var got []string
	app := newApp(Env{})
	app.Commands = []*ucli.Command{workerCommand(Env{})}
	app.Commands[0].Action = func(c *ucli.Context) (err error) {
		got, err = gangArgs(c, "cuda:1", 1, 2)
		return err
	}
	err := app.Run([]string{"nlnctl", "worker", "--nats", "nats://h:1", "--device", "cuda:all", "--threads", "3", "--metrics", ":9090", "--grace", "5s", "--drain",
		"--precision", "bf16", "--include", "a,b", "--include", "c", "--max-side", "77"})
	want := []string{"worker", "--device=cuda:1", "--threads=3", "--precision=bf16", "--max-side=77", "--include=a,b", "--include=c",
		"--nats=nats://h:1", "--drain=true", "--grace=5s", "--metrics=:9091"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("arguments %q, error %v, want %q", got, err, want)
	}
}

func TestLines(t *testing.T) {
	var out bytes.Buffer
	var mu sync.Mutex
	l := &lines{w: &out, mu: &mu, prefix: "d: "}
	for _, s := range []string{"a", "b\nc\n", "\nd"} {
		l.Write([]byte(s))
	}
	l.end()
	if out.String() != "d: ab\nd: c\nd: \nd: d\n" {
		t.Errorf("%q", out.String())
	}
}
