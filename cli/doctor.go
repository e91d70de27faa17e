package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nlnctl/nlnctl/cgo/pictures"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
)

// A check is one line of what doctor finds. One that is all right and has a fix is
// a warning.
type check struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Fix   string `json:"fix,omitempty"`
}

func doctorCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "doctor",
		Usage:     "check that everything the program needs is there and works",
		UsageText: "nlnctl doctor [--json]",
		Description: `Loads the native core, tries libtorch and FAISS on a small problem, looks at the
libraries they use, and says for each failure what mends it. The exit status is
1 if anything fails; what works and could be faster is a warning.`,
		Flags: []ucli.Flag{threadsFlag(), jsonFlag("what it found")},
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if err := useThreads(c); err != nil {
				return err
			}
			checks := examine(c, env)
			if c.Bool("json") {
				if err := printJSON(env.Stdout, checks); err != nil {
					return err
				}
			} else if err := printChecks(env, checks); err != nil {
				return err
			}
			failed := 0
			for _, ch := range checks {
				if !ch.OK {
					failed++
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d checks failed", failed, len(checks))
			}
			return nil
		},
	}
}

func printChecks(env Env, checks []check) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, ch := range checks {
		mark := "ok"
		switch {
		case !ch.OK:
			mark = "FAIL"
		case ch.Fix != "":
			mark = "warn"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", mark, ch.Name, ch.Found)
		if ch.Fix != "" {
			fmt.Fprintf(w, "\t\tfix: %s\n", ch.Fix)
		}
	}
	return w.Flush()
}

func examine(c *ucli.Context, env Env) []check {
	checks := []check{{Name: "program", OK: true, Found: fmt.Sprintf("nlnctl %s, %s, %s/%s", env.version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)}}
	if err := torch.Load(); err != nil {
		ch := check{Name: "core", Found: err.Error(), Fix: hint(err)}
		if lib := missingLibrary(err); lib != "" {
			ch.Fix = fmt.Sprintf("install the package that holds %s (Debian, Ubuntu: make deps)", lib)
		}
		return append(checks, ch)
	}
	checks = append(checks, check{Name: "core", OK: true, Found: torch.CorePath()})
	checks = append(checks, libraries()...)
	return append(checks, tryTorch(), tryFAISS(c), tryPictures())
}

// missingLibrary returns the shared library that the dynamic linker did not
// find for the core, or "".
func missingLibrary(err error) string {
	for _, part := range strings.Split(err.Error(), "; ") {
		if before, _, ok := strings.Cut(part, ": cannot open shared object file"); ok && !strings.HasPrefix(part, "libnlncore.so") {
			return before[strings.LastIndex(before, " ")+1:]
		}
	}
	return ""
}

// libraries says what the native core is made of, and checks those of its parts
// that can be the wrong ones.
func libraries() []check {
	text, err := torch.Info()
	var n nativeInfo
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil {
		return []check{{Name: "libraries", Found: err.Error()}}
	}
	oneDNN, _, _ := strings.Cut(n.OneDNN, " (")
	return []check{
		{Name: "libtorch", OK: true, Found: strings.Join(nonEmpty(n.Libtorch, oneDNN, n.SIMD), ", ")},
		{Name: "faiss", OK: true, Found: strings.TrimSpace(n.FAISS + " " + n.FAISSOptions)},
		cuda(n, hasGPU()),
		threads(n, runtime.GOMAXPROCS(0)),
		openMP(os.Getenv),
		blas(),
		blasKernels(n, torch.BLASKernels(), os.Getenv("OPENBLAS_CORETYPE")),
	}
}

// hasGPU says whether a driver of NVIDIA's has a device here.
func hasGPU() bool {
	for _, path := range []string{"/dev/nvidia0", "/proc/driver/nvidia"} {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// cuda lists the CUDA devices, and says what is missing where there could be some.
func cuda(n nativeInfo, gpu bool) check {
	ch := check{Name: "cuda", OK: true}
	var names []string
	for i, d := range n.Devices {
		names = append(names, fmt.Sprintf("%v %s, %.0f GB, capability %s", torch.CUDA(i), d.Name, float64(d.Bytes)/1e9, d.Capability))
	}
	switch {
	case len(names) > 0:
		ch.Found = strings.Join(names, "; ")
	case n.CUDA:
		ch.Found, ch.Fix = "there are devices, but this core was built without CUDA=1", cudaFix
	case gpu:
		ch.Found, ch.Fix = "there is a GPU, but this core computes on the processor", cudaFix+"; if it was, nvidia-smi says whether the driver is sound"
	default:
		ch.Found = "none: this core computes on the processor"
	}
	return ch
}

const cudaFix = "build the core with \"make core CUDA=1\" (docs/devices.md)"

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}

// tryTorch multiplies matrices whose product is known and times it.
func tryTorch() check {
	const n = 512
	ch := check{Name: "matrix product"}
	var seconds float64
	err := torch.Run(func() error {
		s := torch.NewScope(torch.CPU)
		defer s.Close()
		a, b := s.Full(2, n, n), s.Full(3, n, n)
		start := time.Now()
		const times = 20
		var p *torch.Tensor
		for range times {
			p = a.MatMul(b)
		}
		sum := float64(p.Mean().Item())
		seconds = time.Since(start).Seconds() / times
		if s.Err() == nil && math.Abs(sum-6*n) > 1e-3*6*n {
			return fmt.Errorf("the product is %v, want %v", sum, 6*n)
		}
		return s.Err()
	})
	if err != nil {
		ch.Found, ch.Fix = err.Error(), "reinstall libtorch"
		return ch
	}
	speed := 2 * n * n * n / seconds / 1e9
	ch.OK, ch.Found = true, fmt.Sprintf("%.0f GFLOP/s", speed)
	return ch
}

// tryFAISS searches a few vectors whose neighbours are known.
func tryFAISS(c *ucli.Context) check {
	ch := check{Name: "search"}
	x, err := faissindex.New(2)
	if err == nil {
		defer x.Close()
		err = x.Add(c.Context, []float32{0, 0, 3, 4, 6, 8})
	}
	var nb nln.Neighbors
	if err == nil {
		nb, err = x.Search(c.Context, []float32{6, 8}, 2, nb)
	}
	if err == nil && (!slices.Equal(nb.IDs, []int64{2, 1}) || !slices.Equal(nb.Dist, []float32{0, 5})) {
		err = fmt.Errorf("neighbours are %v at %v, want [2 1] at [0 5]", nb.IDs, nb.Dist)
	}
	if err != nil {
		ch.Found, ch.Fix = err.Error(), "build the core anew with \"make core\""
		return ch
	}
	ch.OK, ch.Found = true, "neighbours and distances are right"
	return ch
}

// tryPictures says which libvips there is. Without one, only small PNG and JPEG
// files are read, and none is resized.
func tryPictures() check {
	ch := check{Name: "pictures", OK: true}
	version, err := pictures.Vips{}.Version()
	if err != nil {
		ch.Found, ch.Fix = "no libvips: PNG and JPEG files are read as they are, others not at all", "install libvips (Debian 12: libvips42, later: libvips42t64), or run: make deps"
		return ch
	}
	ch.Found = vips + version
	return ch
}
