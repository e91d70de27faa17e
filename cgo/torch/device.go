package torch

/*
#include "nln_core.h"
*/
import "C"

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nlnctl/nlnctl/cgo/internal/core"
)

// A Device is where a tensor's memory lies and its operations run.
type Device int32

// CPU is the host.
const CPU = Device(C.NLN_CPU)

// CUDA returns the i'th CUDA device.
func CUDA(i int) Device { return Device(i) }

// String returns "cpu" or, for example, "cuda:0".
func (d Device) String() string {
	if d == CPU {
		return "cpu"
	}
	return fmt.Sprintf("cuda:%d", int(d))
}

// CUDADevices returns how many CUDA devices there are, 0 where the core or the
// machine has no CUDA.
func CUDADevices() (int, error) {
	if err := core.Load(); err != nil {
		return 0, err
	}
	var n C.int32_t
	err := statusError(C.nln_device_count(&n))
	return int(n), err
}

// FindDevice returns the device of a name: "cpu", "cuda" for the first CUDA device,
// "cuda:1" for the second, or "auto" for the first CUDA device if there is one and
// else the CPU. It fails where there is none of that name.
func FindDevice(name string) (Device, error) {
	if name == "cpu" {
		return CPU, nil
	}
	number, isCUDA := strings.CutPrefix(name, "cuda")
	i := 0
	if number != "" {
		text, ok := strings.CutPrefix(number, ":")
		n, err := strconv.ParseUint(text, 10, 16)
		isCUDA, i = isCUDA && ok && err == nil, int(n)
	}
	if !isCUDA && name != "auto" {
		return CPU, fmt.Errorf("device %q, want auto, cpu, cuda or cuda:N", name)
	}
	n, err := CUDADevices()
	switch {
	case err != nil:
		return CPU, err
	case name == "auto" && n == 0:
		return CPU, nil
	case name == "auto":
		return CUDA(0), nil
	case n == 0:
		return CPU, fmt.Errorf("device %s: %w: it sees no CUDA device; \"nlnctl doctor\" says what it has", name, ErrUnsupported)
	case i >= n:
		return CPU, fmt.Errorf("device %s: there are %d CUDA devices, the last is %v", name, n, CUDA(n-1))
	}
	return CUDA(i), nil
}

// A Precision is how the factors of matrix products and convolutions are rounded;
// sums are float32 always.
type Precision string

// Precisions.
const (
	Float32  Precision = "f32"  // not at all
	TF32     Precision = "tf32" // to 10 bits of mantissa, on CUDA devices that have it
	BFloat16 Precision = "bf16" // to 7 bits of mantissa
)

var precision atomic.Value // a Precision; none: Float32

// CurrentPrecision returns what SetPrecision has set.
func CurrentPrecision() Precision {
	if p, ok := precision.Load().(Precision); ok {
		return p
	}
	return Float32
}

// SetPrecision sets the precision of all that is computed from now on.
func SetPrecision(p Precision) error {
	code, ok := map[Precision]C.int32_t{Float32: C.NLN_FLOAT32, TF32: C.NLN_TF32, BFloat16: C.NLN_BFLOAT16}[p]
	if !ok {
		return fmt.Errorf("torch: precision %q, want %s, %s or %s", p, Float32, TF32, BFloat16)
	}
	if err := core.Load(); err != nil {
		return err
	}
	err := statusError(C.nln_set_precision(code))
	if err == nil {
		precision.Store(p)
	}
	return err
}

// A Stream is a queue of a device's work. Work in two streams may run at the same
// time. On the CPU there is one queue and a stream does nothing.
type Stream struct{ p *C.nln_stream }

// NewStream returns a stream of dev, which the caller closes.
func NewStream(dev Device) (*Stream, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	st := &Stream{}
	return st, statusError(C.nln_stream_new(C.int32_t(dev), &st.p))
}

// Close frees the stream. It may be called again.
func (st *Stream) Close() error {
	C.nln_stream_free(st.p)
	st.p = nil
	return nil
}

var errStream = errors.New("torch: stream used after Close")

// Do calls f, whose work for the stream's device goes into the stream. It is for
// one thread: call it within [Run].
func (st *Stream) Do(f func() error) error {
	if st.p == nil {
		return errStream
	}
	defer runtime.KeepAlive(st)
	if err := statusError(C.nln_stream_enter(st.p)); err != nil {
		return err
	}
	// Also when f panics: the thread goes on with other work.
	var left error
	defer func() { left = statusError(C.nln_stream_leave(st.p)) }()
	return errors.Join(f(), left)
}

// Wait returns when all work in the stream is done.
func (st *Stream) Wait() error {
	if st.p == nil {
		return errStream
	}
	defer runtime.KeepAlive(st)
	return statusError(C.nln_stream_wait(st.p))
}

// Capture records the work of f, which is not done, as a [Graph]. f must do what
// has been done in the stream before, by Do, at least once; it must not copy to or
// from the host or wait. What it reads are tensors from before; what it leaves for
// others to read are tensors of a scope that stays open, or owned ones. On the CPU
// the error wraps [ErrUnsupported].
func (st *Stream) Capture(f func() error) (*Graph, error) {
	g := &Graph{}
	err := st.Do(func() error {
		if err := statusError(C.nln_graph_begin(st.p, &g.p)); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
		return statusError(C.nln_graph_end(g.p))
	})
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// A Graph is recorded work of a device.
type Graph struct{ p *C.nln_graph }

// Replay does the work once more, in the stream in which it was recorded, and does
// not wait for it.
func (g *Graph) Replay() error {
	if g.p == nil {
		return errors.New("torch: graph used after Close")
	}
	defer runtime.KeepAlive(g)
	return statusError(C.nln_graph_replay(g.p))
}

// Close frees the graph and the memory of the tensors that were made in it. It may
// be called again.
func (g *Graph) Close() error {
	C.nln_graph_free(g.p)
	g.p = nil
	return nil
}

// A CUDADevice is what is known of a CUDA device.
type CUDADevice struct {
	Name       string `json:"name"`
	Bytes      int64  `json:"bytes"`      // of memory in all
	Capability string `json:"capability"` // such as "9.0"
}

// CUDAInfo returns the CUDA devices in their order, none where the core was built
// without what looks at them.
func CUDAInfo() ([]CUDADevice, error) {
	text, err := Info()
	if err != nil {
		return nil, err
	}
	var info struct {
		Devices []CUDADevice `json:"devices"`
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return nil, fmt.Errorf("torch: what the core says of itself: %w", err)
	}
	return info.Devices, nil
}
