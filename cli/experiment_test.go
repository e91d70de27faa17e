package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An experiment on generated data, in a folder of its own.
type trialRun struct {
	t    *testing.T
	args []string
}

func newTrialRun(t *testing.T, plan string) trialRun {
	t.Chdir(t.TempDir())
	inProcess(t, "data", "synth", "--format", "all", "-o", "data")
	return trialRun{t, []string{"experiment", "run", plan, "--budget", "smoke", "--data", "data", "-o", "run"}}
}

// command returns the program as a process group of its own.
func (r trialRun) command(stderr *watched, more ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	return &exec.Cmd{Path: exe, Args: append(append([]string{"nlnctl"}, r.args...), more...), Env: os.Environ(), Stderr: stderr,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
}

// cells returns when each finished cell was written.
func (r trialRun) cells() map[string]time.Time {
	found, err := filepath.Glob("run/cells/*/record.json")
	if err != nil {
		r.t.Fatal(err)
	}
	at := map[string]time.Time{}
	for _, f := range found {
		st, err := os.Stat(f)
		if err != nil {
			r.t.Fatal(err)
		}
		at[f] = st.ModTime()
	}
	return at
}

// Killed at some moment with all its processes and started again, a run does only
// what is missing.
func TestExperimentKilled(t *testing.T) {
	r := newTrialRun(t, "table3")
	var kills int
	for after := 1; after <= 3; after++ {
		seen := r.cells()
		var cmd *exec.Cmd
		stderr := &watched{text: fmt.Sprintf("[%d/", len(seen)+2)}
		cmd = r.command(stderr, "--jobs", "2")
		stderr.hook = func() {
			time.Sleep(time.Duration(after) * 50 * time.Millisecond)
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		if err := cmd.Run(); err != nil {
			kills++
		}
		for f, at := range seen {
			if now := r.cells()[f]; now != at {
				t.Errorf("%s was written anew", f)
			}
		}
	}
	if kills == 0 {
		t.Error("no run was killed before its end")
	}
	// What a kill leaves while a checkpoint is written.
	locks, _ := filepath.Glob("run/cells/.*.lock")
	for _, lock := range locks {
		if err := os.WriteFile(strings.TrimSuffix(lock, "lock")+"checkpoint.7.tmp", []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was := r.cells()
	stderr := &watched{}
	if err := r.command(stderr).Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	all := regexp.MustCompile(`table3: (\d+) cells, (\d+) to do`).FindStringSubmatch(stderr.String())
	if all == nil || all[2] != strconv.Itoa(atoi(t, all[1])-len(was)) {
		t.Errorf("%d cells were there before:\n%s", len(was), stderr)
	}
	now := r.cells()
	if len(now) != atoi(t, all[1]) {
		t.Errorf("%d cells of %s", len(now), all[1])
	}
	for f, at := range was {
		if now[f] != at {
			t.Errorf("%s was written anew", f)
		}
	}
	for _, left := range []string{"run/cells/.*.lock", "run/cells/.*.tmp", "run/cells/*.checkpoint"} {
		if found, _ := filepath.Glob(left); len(found) > 0 {
			t.Errorf("left behind: %v", found)
		}
	}
}

func atoi(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// estimated is how far a run may take longer or shorter than was said before.
const estimated = 1.5

var (
	saidTime = regexp.MustCompile(`(\d+) to do: about (\S+) by`)
	tookTime = regexp.MustCompile(`done in (\S+)`)
)

// Every table and figure comes out of one command, and takes what it said, in time and
// on disk. What else the machine does between the estimate and the work can spoil it, so
// that a second try counts too.
func TestPaperSmoke(t *testing.T) {
	r := newTrialRun(t, "paper")
	for try := 1; ; try++ {
		stderr := &watched{}
		if err := r.command(stderr).Run(); err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		said, took := duration(t, saidTime, 2, stderr), duration(t, tookTime, 1, stderr)
		t.Logf("%v said, %v taken", said, took)
		if said <= time.Duration(estimated*float64(took)) && took <= time.Duration(estimated*float64(said)) {
			break
		}
		if try == 2 {
			t.Errorf("%v said, %v taken, more than %v times", said, took, estimated)
			break
		}
		if err := os.RemoveAll("run"); err != nil {
			t.Fatal(err)
		}
	}
	inProcess(t, "experiment", "report", "run")
	for _, name := range []string{"report.md", "report.html", "report.tex", "table1.csv", "table2.csv", "table3.csv", "table4.csv", "table5.csv", "table6.csv",
		"figure1.svg", "figure3.png", "figure4.svg", "figure5.png", "figure6.svg"} {
		if st, err := os.Stat(filepath.Join("run/report", name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	page, err := os.ReadFile("run/report/report.md")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(page, []byte("NaN")) || bytes.Contains(page, []byte("Inf")) {
		t.Error("the report has numbers that are none")
	}
}

func duration(t *testing.T, of *regexp.Regexp, group int, in *watched) time.Duration {
	t.Helper()
	m := of.FindStringSubmatch(in.String())
	if m == nil {
		t.Fatalf("no %v in:\n%s", of, in)
	}
	d, err := time.ParseDuration(m[group])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// An interrupt reaches the processes, and the next run goes on with what they had begun.
func TestExperimentInterrupted(t *testing.T) {
	r := newTrialRun(t, "table6")
	var cmd *exec.Cmd
	stderr := &watched{text: "[2/", hook: func() { cmd.Process.Signal(syscall.SIGINT) }}
	cmd = r.command(stderr)
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != exitInterrupted || !strings.Contains(stderr.String(), "hint: repeat the command to go on") {
		t.Fatalf("%v\n%s", err, stderr)
	}
	stderr = &watched{}
	if err := r.command(stderr).Run(); err != nil || !strings.Contains(stderr.String(), "[6/6] ") {
		t.Errorf("%v\n%s", err, stderr)
	}
}
