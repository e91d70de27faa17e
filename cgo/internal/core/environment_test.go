package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// child is set in the process that TestLibrariesReadTheSettings starts.
const child = "NLNCTL_TEST_LOAD_CORE"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	info, err := Info()
	fmt.Printf("%s\n", info)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestSettingsLeaveWhatTheUserHasSet(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want []string // names that are set
	}{
		{nil, []string{"OMP_WAIT_POLICY", "OPENBLAS_CORETYPE"}},
		{map[string]string{"OMP_WAIT_POLICY": "active"}, []string{"OPENBLAS_CORETYPE"}},
		{map[string]string{"GOMP_SPINCOUNT": "7"}, []string{"OPENBLAS_CORETYPE"}},
		{map[string]string{"OPENBLAS_CORETYPE": "Zen"}, []string{"OMP_WAIT_POLICY"}},
	} {
		got := map[string]bool{}
		for _, s := range settings(func(name string) string { return c.env[name] }) {
			got[s.name] = true
		}
		for _, name := range []string{"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_CORETYPE"} {
			want := strings.Contains(strings.Join(c.want, " "), name) && (name != "OPENBLAS_CORETYPE" || BLASKernels() != "")
			if got[name] != want {
				t.Errorf("with %v: %s set is %v, want %v", c.env, name, got[name], want)
			}
		}
	}
}

// What is set before the core is loaded reaches libgomp and OpenBLAS, which then
// say what they go by.
func TestLibrariesReadTheSettings(t *testing.T) {
	kernels := BLASKernels()
	for _, c := range []struct {
		env           []string
		spin, kernels string // "": whatever it is
	}{
		{nil, "0", kernels},
		{[]string{"OMP_WAIT_POLICY=passive"}, "0", kernels},
		{[]string{"GOMP_SPINCOUNT=77"}, "77", kernels},
		{[]string{"OPENBLAS_CORETYPE=Prescott"}, "0", "Prescott"},
	} {
		out, spin := loadedWith(t, c.env)
		if spin != c.spin {
			t.Errorf("with %v: GOMP_SPINCOUNT is %q, want %q", c.env, spin, c.spin)
		}
		if have := out["openblas_kernels"]; have != nil && c.kernels != "" && !strings.EqualFold(fmt.Sprint(have), c.kernels) {
			t.Errorf("with %v: OpenBLAS's kernels are %v, want %s", c.env, have, c.kernels)
		}
	}
}

// loadedWith loads the core in a process with the environment and returns what
// the core says of itself and what libgomp says of GOMP_SPINCOUNT.
func loadedWith(t *testing.T, env []string) (info map[string]any, spin string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OMP_") && !strings.HasPrefix(v, "GOMP_") && !strings.HasPrefix(v, "OPENBLAS_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(append(cmd.Env, child+"=1", "OMP_DISPLAY_ENV=verbose"), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("with %v: %v\n%s", env, err, stderr.String())
	}
	if err := json.Unmarshal(stdout, &info); err != nil {
		t.Fatalf("with %v: %v in %q", env, err, stdout)
	}
	_, rest, _ := strings.Cut(stderr.String(), "GOMP_SPINCOUNT = '")
	spin, _, _ = strings.Cut(rest, "'")
	return info, spin
}

// Each library computes with the one number of threads, also after it changed.
func TestThreadsAreThoseOfTheSetting(t *testing.T) {
	defer SetThreads(0)
	for _, n := range []int{3, 1, 2, 2} {
		if err := errors.Join(Load(), SetThreads(n)); err != nil {
			t.Fatal(err)
		}
		text, err := Info()
		if err != nil {
			t.Fatal(err)
		}
		var have map[string]any
		if err := json.Unmarshal(text, &have); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"threads", "openmp_threads", "torch_threads", "openblas_threads"} {
			if have[name] != float64(n) && (have[name] != nil || name != "openblas_threads") { // there may be another BLAS
				t.Errorf("%s is %v, want %d", name, have[name], n)
			}
		}
	}
	if err := SetThreads(-1); err == nil {
		t.Error("-1 threads: no error")
	}
}

func TestRunPassesErrorsAndPanicsOn(t *testing.T) {
	wrong := errors.New("wrong")
	if err := Run(func() error { return wrong }); err != wrong {
		t.Errorf("Run = %v, want %v", err, wrong)
	}
	defer func() {
		if p := recover(); p != "broken" {
			t.Errorf("panic of %v, want broken", p)
		}
	}()
	Run(func() error { panic("broken") })
}
