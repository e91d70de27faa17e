package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mapped returns the real paths of the shared libraries in the process whose
// names begin with one of the prefixes.
func mapped(prefixes ...string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		i := strings.IndexByte(line, '/')
		if i < 0 {
			continue
		}
		path := strings.TrimSpace(line[i:])
		for _, p := range prefixes {
			if strings.HasPrefix(filepath.Base(path), p) && !slices.Contains(found, path) {
				found = append(found, path)
			}
		}
	}
	return found, nil
}

// threads makes sure that every library computes with the one number of threads,
// and that there are not more of them than processors to use.
func threads(n nativeInfo, processors int) check {
	ch := check{Name: "threads", OK: true, Found: fmt.Sprintf("%d of %d processors", n.Threads, processors)}
	have := map[string]int{"OpenMP": n.OpenMPThreads, "libtorch": n.TorchThreads}
	if n.OpenBLASKernels != "" {
		have["OpenBLAS"] = n.OpenBLASThreads
	}
	// OpenBLAS is built for so many at most; Debian's for 128, others for 64.
	most := map[string]int{"OpenMP": n.Threads, "libtorch": n.Threads, "OpenBLAS": max(64, n.OpenBLASThreads)}
	for _, name := range []string{"OpenMP", "libtorch", "OpenBLAS"} {
		if k, ok := have[name]; ok && k != min(n.Threads, most[name]) {
			ch.OK = false
			ch.Found += fmt.Sprintf(", but %s takes %d", name, k)
			ch.Fix = "unset OMP_THREAD_LIMIT, OMP_DYNAMIC and OPENBLAS_NUM_THREADS, and give the number by --threads alone"
		}
	}
	if ch.OK && n.Threads > processors {
		ch.Fix = fmt.Sprintf("leave --threads out, or give at most %d: more only wait for each other", processors)
	}
	return ch
}

// openMP makes sure that there is one OpenMP runtime: two compete for the same
// processors, and can crash. And that its idle threads sleep, unless the user
// wants them to spin.
func openMP(getenv func(string) string) check {
	ch := check{Name: "openmp"}
	found, err := mapped("libgomp", "libomp", "libiomp")
	switch {
	case err != nil:
		ch.Found = err.Error()
	case len(found) != 1:
		ch.Found = fmt.Sprintf("%d runtimes: %s", len(found), strings.Join(found, ", "))
		ch.Fix = "use libraries that are built with one OpenMP runtime, such as the distribution's"
	default:
		ch.OK, ch.Found = true, found[0]
		if by := spins(getenv); by != "" {
			ch.Found += ", idle threads spin"
			ch.Fix = "unset " + by + ": beside other work, spinning threads make a training step several times slower"
		}
	}
	return ch
}

// spins returns the variable by which idle threads of libgomp spin, or "".
// GOMP_SPINCOUNT goes before OMP_WAIT_POLICY.
func spins(getenv func(string) string) string {
	const count, policy = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
	switch {
	case getenv(count) == "0":
		return ""
	case getenv(count) != "":
		return count
	case strings.EqualFold(getenv(policy), "active"):
		return policy
	}
	return ""
}

// blas looks at the libraries for matrix products that are in the process.
func blas() check {
	found, err := mapped("libopenblas", "libblas.so", "libmkl_core", "libmkl_rt", "libblis", "libatlas")
	if err != nil {
		return check{Name: "blas", Found: err.Error()}
	}
	return judgeBLAS(found)
}

// judgeBLAS makes sure that matrix products are done by a fast library that
// shares the one OpenMP runtime.
func judgeBLAS(found []string) check {
	ch := check{Name: "blas"}
	found = slices.DeleteFunc(slices.Clone(found), func(p string) bool {
		// OpenBLAS brings a libblas of its own, a thin layer over itself.
		return strings.HasPrefix(filepath.Base(p), "libblas.so") && strings.Contains(p, "openblas")
	})
	ch.Found = strings.Join(found, ", ")
	switch {
	case len(found) == 0:
		ch.OK, ch.Found = true, "built into libtorch"
	case len(found) > 1:
		ch.Fix = "leave one of them: apt install libopenblas0-openmp, then update-alternatives --config libblas.so.3-x86_64-linux-gnu"
	case strings.Contains(found[0], "pthread"):
		ch.Fix = "apt install libopenblas0-openmp: this one has threads of its own beside OpenMP's"
	case strings.Contains(found[0], "serial"):
		ch.Fix = "apt install libopenblas0-openmp: this one computes with one thread"
	case strings.Contains(found[0], "libblas.so"):
		ch.Fix = "apt install libopenblas0-openmp: this is the reference BLAS, twenty times slower"
	default:
		ch.OK = true
	}
	return ch
}

// slowKernels are OpenBLAS's for x86 without AVX2 and fused multiplication, by its
// names: what it falls back to on a processor that is newer than itself.
var slowKernels = []string{"katmai", "coppermine", "northwood", "prescott", "banias", "core2", "penryn", "dunnington", "nehalem",
	"athlon", "opteron", "opteron_sse3", "barcelona", "bobcat", "nano", "atom", "generic", "sandybridge", "bulldozer"}

// blasKernels makes sure that OpenBLAS computes with instructions that the
// processor has; want names its kernels for them and set is what the environment
// asks for.
func blasKernels(n nativeInfo, want, set string) check {
	ch := check{Name: "blas kernels", OK: true, Found: n.OpenBLASKernels}
	if n.OpenBLASKernels == "" {
		ch.Found = "not known: no OpenBLAS"
		return ch
	}
	if want == "" || !slices.Contains(slowKernels, strings.ToLower(n.OpenBLASKernels)) {
		return ch
	}
	ch.OK = false
	ch.Found += fmt.Sprintf(", several times slower here than %s", want)
	switch {
	case !strings.Contains(n.OpenBLASConfig, "DYNAMIC_ARCH"):
		ch.Fix = "apt install libopenblas0-openmp: this OpenBLAS was built for one kind of processor"
	case !strings.EqualFold(set, want):
		ch.Fix = "unset OPENBLAS_CORETYPE, or set it to " + want
	default:
		ch.Fix = "install a newer libopenblas0-openmp: this one has no kernels by the name of " + want
	}
	return ch
}
