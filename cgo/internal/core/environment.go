package core

import (
	"os"
	"runtime"

	"golang.org/x/sys/cpu"
)

// A setting is an environment variable that the libraries under the core read
// when they are loaded with it.
type setting struct{ name, value string }

// prepare sets what the libraries read once, when they are loaded. What the user
// has set stands. With cgo os.Setenv sets it for C as well, which is why nothing
// need be started anew.
func prepare() {
	for _, s := range settings(os.Getenv) {
		os.Setenv(s.name, s.value)
	}
}

// settings returns what to set where the environment is as getenv says.
func settings(getenv func(string) string) []setting {
	var list []setting
	// Idle OpenMP threads spin for a while, which beside busy threads makes a
	// training step several times slower; see docs/decisions/threads.md.
	if getenv("OMP_WAIT_POLICY") == "" && getenv("GOMP_SPINCOUNT") == "" {
		list = append(list, setting{"OMP_WAIT_POLICY", "passive"})
	}
	if k := BLASKernels(); k != "" && getenv("OPENBLAS_CORETYPE") == "" {
		list = append(list, setting{"OPENBLAS_CORETYPE", k})
	}
	return list
}

// BLASKernels returns OpenBLAS's name of the kernels that this processor runs, ""
// where it has none that are worth naming. An OpenBLAS older than the processor
// takes it for one of 2004 and computes matrix products in SSE3 alone.
func BLASKernels() string {
	switch {
	case runtime.GOARCH != "amd64":
		return ""
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL:
		return "SkylakeX"
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		return "Haswell"
	}
	return ""
}
