package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	ucli "github.com/urfave/cli/v2"
)

// Options that several commands have.

func modelFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: "the `BUNDLE` to use, a directory that train wrote", Required: true}
}

func threadsFlag() ucli.Flag {
	return &ucli.IntFlag{Name: "threads", Usage: "compute with `N` threads; 0 means one a processor"}
}

func jsonFlag(what string) ucli.Flag {
	return &ucli.BoolFlag{Name: "json", Usage: "print " + what + " as JSON"}
}

func quietFlag() ucli.Flag {
	return &ucli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"}
}

// deviceFlags are those of commands that run models.
func deviceFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "device", Value: "auto", Usage: "compute on `cpu`, cuda or cuda:N; auto takes a CUDA device if there is one"},
		&ucli.StringFlag{Name: "precision", Value: string(torch.Float32), Usage: "round factors to `f32`, tf32 or bf16: faster on some CUDA devices, and less exact"},
	}
}

// useDevice returns the device that the options name, and sets the precision. A
// command without these options computes on the processor.
func useDevice(c *ucli.Context) (torch.Device, error) {
	if c.String("device") == "" {
		return torch.CPU, nil
	}
	if err := torch.SetPrecision(torch.Precision(c.String("precision"))); err != nil {
		return torch.CPU, err
	}
	return torch.FindDevice(c.String("device"))
}

// useCore sets the native core up as the options say.
func useCore(c *ucli.Context) error {
	if err := useThreads(c); err != nil {
		return err
	}
	return torch.Load()
}

// useThreads sets the number of threads that the options ask for.
func useThreads(c *ucli.Context) error {
	n := c.Int("threads")
	if n < 0 || n > torch.MaxThreads() {
		return badUsage(c, "--threads is %d, want 0 to %d", n, torch.MaxThreads())
	}
	return setThreads(n)
}

// setThreads lets the core and Go's own goroutines use n threads each, 0 meaning
// one a processor: while the core computes, goroutines have little to do, and
// the core waits for them without spinning.
func setThreads(n int) error {
	if n > 0 {
		runtime.GOMAXPROCS(n)
	} else {
		runtime.SetDefaultGOMAXPROCS()
	}
	return torch.SetThreads(n)
}

// openBundle sets the native core up and opens the bundle that the options name.
func openBundle(c *ucli.Context) (*bundle.Bundle, error) {
	if err := useThreads(c); err != nil {
		return nil, err
	}
	return bundle.OpenOn(c.String("model"), func() (torch.Device, error) { return useDevice(c) })
}

// computedOn says where scores of a bundle are computed, and how rounded where that is
// not the default: "cpu", "cuda:0", "cuda:0 bf16".
func computedOn(c *ucli.Context, b *bundle.Bundle) string {
	on := b.Model.Device().String()
	if p := c.String("precision"); p != "" && p != string(torch.Float32) {
		on += " " + p
	}
	return on
}

// noteHost says why scores are put together on the processor, where a device was to.
func noteHost(b *bundle.Bundle, m *meter) {
	if b.OnHost != nil {
		m.say("note: scores are put together on the processor, more slowly: %v", b.OnHost)
	}
}

func noArguments(c *ucli.Context) error {
	if c.Args().Present() {
		return badUsage(c, "unexpected argument %q", c.Args().First())
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// ints reads a list such as "1,2,5".
func ints(s string) ([]int, error) {
	var v []int
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(f))
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", f)
		}
		v = append(v, n)
	}
	return v, nil
}

// floats reads a list such as "0,0.5,1".
func floats(s string) ([]float64, error) {
	var v []float64
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseFloat(strings.TrimSpace(f), 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", f)
		}
		v = append(v, n)
	}
	return v, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

// A meter shows how far a long piece of work is: on a terminal one line that
// changes, elsewhere a line from time to time. It may be used from several goroutines.
type meter struct {
	mu       sync.Mutex
	w        io.Writer // nil: silent
	terminal bool
	last     time.Time
	open     bool // a line on the terminal is unfinished
}

func newMeter(c *ucli.Context, w io.Writer) *meter {
	m := &meter{w: w, last: time.Now()}
	if c.Bool("quiet") {
		m.w = nil
	}
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil {
			m.terminal = st.Mode()&os.ModeCharDevice != 0
		}
	}
	return m
}

// show displays a line unless one was shown a moment ago.
func (m *meter) show(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	every := 10 * time.Second
	if m.terminal {
		every = 100 * time.Millisecond
	}
	if m.w == nil || time.Since(m.last) < every {
		return
	}
	m.last = time.Now()
	if m.terminal {
		fmt.Fprintf(m.w, "\r\x1b[K"+format, args...)
		m.open = true
		return
	}
	fmt.Fprintf(m.w, format+"\n", args...)
}

// say ends the line and displays another for good.
func (m *meter) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	if m.w != nil {
		fmt.Fprintf(m.w, format+"\n", args...)
	}
}

// Say, Show and Clear make a meter a recipe.Log.

func (m *meter) Say(format string, args ...any)  { m.say(format, args...) }
func (m *meter) Show(format string, args ...any) { m.show(format, args...) }
func (m *meter) Clear()                          { m.clear() }

// clear removes an unfinished line.
func (m *meter) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
}

func (m *meter) erase() {
	if m.open {
		fmt.Fprint(m.w, "\r\x1b[K")
		m.open = false
	}
}

// remaining estimates how long work takes that is done of total after elapsed.
func remaining(elapsed time.Duration, done, total int) time.Duration {
	if done == 0 {
		return 0
	}
	return (time.Duration(float64(elapsed) / float64(done) * float64(total-done))).Round(time.Second)
}
