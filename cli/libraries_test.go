package cli

import (
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

func TestJudgeBLAS(t *testing.T) {
	const dir = "/usr/lib/x86_64-linux-gnu/"
	for _, c := range []struct {
		found string // names, with commas between
		ok    bool
		fix   string
	}{
		{"", true, ""},
		{dir + "openblas-openmp/libopenblasp-r0.3.21.so," + dir + "openblas-openmp/libblas.so.3", true, ""},
		{dir + "blas/libblas.so.3.11.0", false, "apt install libopenblas0-openmp: this is the reference BLAS"},
		{dir + "openblas-pthread/libopenblasp-r0.3.21.so", false, "threads of its own"},
		{dir + "openblas-serial/libopenblas-r0.3.21.so", false, "one thread"},
		{dir + "openblas-openmp/libopenblasp-r0.3.21.so," + dir + "blas/libblas.so.3.11.0", false, "leave one of them"},
	} {
		ch := judgeBLAS(nonEmpty(strings.Split(c.found, ",")...))
		if ch.OK != c.ok || !strings.Contains(ch.Fix, c.fix) || ch.OK == (ch.Fix != "") {
			t.Errorf("%s: %+v, want a fix with %q", c.found, ch, c.fix)
		}
	}
}

func TestBLASKernels(t *testing.T) {
	const dynamic, single = "OpenBLAS 0.3.21 DYNAMIC_ARCH USE_OPENMP Prescott MAX_THREADS=128", "OpenBLAS 0.3.21 USE_OPENMP Prescott"
	for _, c := range []struct {
		have, config, want, set string
		ok                      bool
		fix                     string
	}{
		{"Haswell", dynamic, "Haswell", "Haswell", true, ""},
		{"Zen", dynamic, "Haswell", "Zen", true, ""},
		{"Prescott", dynamic, "", "", true, ""}, // all that this processor has
		{"", "", "Haswell", "Haswell", true, ""},
		{"Prescott", dynamic, "Haswell", "Prescott", false, "unset OPENBLAS_CORETYPE, or set it to Haswell"},
		{"Prescott", single, "SkylakeX", "SkylakeX", false, "apt install libopenblas0-openmp"},
		{"Sandybridge", dynamic, "SkylakeX", "SkylakeX", false, "newer libopenblas0-openmp"},
	} {
		ch := blasKernels(nativeInfo{OpenBLASKernels: c.have, OpenBLASConfig: c.config}, c.want, c.set)
		if ch.OK != c.ok || !strings.Contains(ch.Fix, c.fix) || ch.OK == (ch.Fix != "") {
			t.Errorf("%s, set to %q: %+v, want a fix with %q", c.have, c.set, ch, c.fix)
		}
	}
}

func TestThreadsCheck(t *testing.T) {
	all := nativeInfo{Threads: 2, OpenMPThreads: 2, TorchThreads: 2, OpenBLASThreads: 2, OpenBLASKernels: "Haswell"}
	if ch := threads(all, 2); !ch.OK || ch.Fix != "" {
		t.Errorf("all alike: %+v", ch)
	}
	if ch := threads(all, 1); !ch.OK || !strings.Contains(ch.Fix, "at most 1") {
		t.Errorf("more than processors: %+v", ch)
	}
	odd := all
	odd.TorchThreads = 1
	if ch := threads(odd, 2); ch.OK || !strings.Contains(ch.Found, "libtorch takes 1") || ch.Fix == "" {
		t.Errorf("one differs: %+v", ch)
	}
}

func TestSpins(t *testing.T) {
	for _, c := range []struct{ count, policy, want string }{
		{"", "", ""}, {"", "passive", ""}, {"0", "active", ""},
		{"", "ACTIVE", "OMP_WAIT_POLICY"}, {"1000", "passive", "GOMP_SPINCOUNT"},
	} {
		env := map[string]string{"GOMP_SPINCOUNT": c.count, "OMP_WAIT_POLICY": c.policy}
		if got := spins(func(name string) string { return env[name] }); got != c.want {
			t.Errorf("count %q, policy %q: %q, want %q", c.count, c.policy, got, c.want)
		}
	}
}

func TestCUDA(t *testing.T) {
	two := []torch.CUDADevice{{Name: "NVIDIA H200", Bytes: 150e9, Capability: "9.0"}, {Name: "Tesla T4", Bytes: 16e9, Capability: "7.5"}}
	for _, c := range []struct {
		info       nativeInfo
		gpu        bool
		found, fix string
	}{
		{nativeInfo{CUDA: true, Devices: two}, true, "cuda:0 NVIDIA H200, 150 GB, capability 9.0; cuda:1 Tesla T4, 16 GB, capability 7.5", ""},
		{nativeInfo{CUDA: true}, true, "there are devices, but this core was built without CUDA=1", "make core CUDA=1"},
		{nativeInfo{}, true, "there is a GPU, but this core computes on the processor", "make core CUDA=1"},
		{nativeInfo{}, false, "none: this core computes on the processor", ""},
	} {
		if ch := cuda(c.info, c.gpu); !ch.OK || ch.Found != c.found || (ch.Fix == "") != (c.fix == "") || !strings.Contains(ch.Fix, c.fix) {
			t.Errorf("%+v with a GPU %v: %+v", c.info, c.gpu, ch)
		}
	}
}
