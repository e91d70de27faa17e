// Package torch binds the tensor half of the native core: tensors, their
// operations, gradients and Adam, computed by libtorch.
//
// Memory is owned in one of two ways. A [Scope] owns the tensors made in it and
// frees them together; an [Owned] tensor, such as a weight, outlives scopes and
// is closed by name. Nothing depends on the garbage collector:
//
//	s := torch.NewScope(torch.CPU)
//	defer s.Close()
//	h := s.FromFloats(pix, n, c, h, w).Conv2D(w1.In(s), b1.In(s), 2, 1).ReLU()
//	err := h.CopyTo(z)
//
// The first operation that fails makes its scope fail: later operations do
// nothing, and Err, CopyTo and Close return that first error, as with
// bufio.Writer. So a network reads as one chain of operations.
//
// The package needs the native core at run time (see [Load]), and no libtorch
// to build.
package torch

/*
#cgo CFLAGS: -I${SRCDIR}/../native -std=gnu11 -Wall -Wextra
#include "nln_core.h"
*/
import "C"

import (
	"errors"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/nlnctl/nlnctl/cgo/internal/core"
)

// ErrOutOfMemory is wrapped by the error of an operation for which the host or
// the device had too little memory.
var ErrOutOfMemory = core.ErrOutOfMemory

// ErrUnsupported is wrapped by the error of an operation that the loaded core
// was built without, such as any on a CUDA device by a core for CPUs.
var ErrUnsupported = core.ErrUnsupported

var errClosed = errors.New("torch: tensor used after its scope was closed")

// A LoadError says where the native core was looked for and why it was not
// loaded; its Hint method says what to do.
type LoadError = core.LoadError

// Load loads the native core; NewScope and the other constructors do so by
// themselves. Calling it first gives the error at a better place.
func Load() error { return core.Load() }

// CorePath returns the file that the native core was loaded from.
func CorePath() string { return core.Path() }

// Info returns the native core's description of itself, a JSON object.
func Info() ([]byte, error) { return core.Info() }

// MaxThreads is the largest number that SetThreads takes.
func MaxThreads() int { return core.MaxThreads() }

// SetThreads sets how many threads operations use; 0 means one a processor.
func SetThreads(n int) error { return core.SetThreads(n) }

// BLASKernels returns OpenBLAS's name of the kernels that suit this processor, ""
// where it has none that are worth naming.
func BLASKernels() string { return core.BLASKernels() }

// LiveHandles returns how many objects of the native core exist, for tests.
func LiveHandles() int { return core.LiveHandles() }

// A Scope owns the tensors made in it. It is for one goroutine at a time; two
// scopes may be used at the same time.
type Scope struct {
	dev  Device
	grad bool
	err  error
	live []*Tensor
}

// NewScope returns a scope on dev in which no gradients are recorded.
func NewScope(dev Device) *Scope { return &Scope{dev: dev, err: core.Load()} }

// NewGradScope returns a scope on dev in which what is computed from owned
// tensors that require gradients can be differentiated with Grad.
func NewGradScope(dev Device) *Scope { return &Scope{dev: dev, grad: true, err: core.Load()} }

// Device returns the device of the scope's tensors.
func (s *Scope) Device() Device { return s.dev }

// Err returns the error of the first operation that failed.
func (s *Scope) Err() error { return s.err }

// Fail makes the scope fail with err unless it has failed before. It lets a
// network report an error of its own in the middle of a chain of operations.
func (s *Scope) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Live returns how many tensors Close would free.
func (s *Scope) Live() int { return len(s.live) }

// Close frees the scope's tensors and returns Err. It may be called again.
func (s *Scope) Close() error {
	s.Release()
	return s.err
}

// Release frees the scope's tensors except those in keep. Called with the loss
// before Grad, it lets go of what the gradients do not need.
func (s *Scope) Release(keep ...*Tensor) {
	kept := make([]*Tensor, 0, len(keep))
next:
	for _, t := range s.live {
		for _, k := range keep {
			if t == k {
				kept = append(kept, t)
				continue next
			}
		}
		C.nln_tensor_free(t.p)
		t.p = nil
	}
	s.live = kept
}

// A Tensor is an array of float32 values; those of FromBytes and FromIDs, and the
// ids of a search, hold what their name says, for the few methods that take such. It is invalid after the Close of its
// scope. Operations return new tensors of the same scope.
type Tensor struct {
	s *Scope
	p *C.nln_tensor
}

// made registers what a call of the core stored in p.
func (s *Scope) made(st C.nln_status, p *C.nln_tensor) *Tensor { return s.held(statusError(st), p) }

// held registers p, unless err says that the call that was to make it failed.
func (s *Scope) held(err error, p *C.nln_tensor) *Tensor {
	t := &Tensor{s: s}
	if err != nil {
		s.Fail(err)
		return t
	}
	t.p = p
	s.live = append(s.live, t)
	return t
}

// op runs call, which stores a new tensor, unless the scope has failed or one
// of the tensors it reads is of another scope or gone.
func (s *Scope) op(call func(out **C.nln_tensor) C.nln_status, in ...*Tensor) *Tensor {
	if !s.usable(in...) {
		return &Tensor{s: s}
	}
	var p *C.nln_tensor
	st := call(&p)
	return s.made(st, p)
}

// usable says whether the scope is sound and all of in belong to it; if not,
// it fails.
func (s *Scope) usable(in ...*Tensor) bool {
	for _, t := range in {
		switch {
		case s.err != nil:
		case t.s != s:
			s.Fail(errors.New("torch: tensor of another scope"))
		case t.p == nil:
			s.Fail(errClosed)
		}
	}
	return s.err == nil
}

func statusError(st C.nln_status) error {
	return core.Error("torch", int32(st.code), unsafe.Pointer(st.message))
}

// dims passes a shape to the core.
func dims(shape []int) (*C.int64_t, C.int32_t) {
	d := make([]C.int64_t, max(len(shape), 1))
	for i, n := range shape {
		d[i] = C.int64_t(n)
	}
	return &d[0], C.int32_t(len(shape))
}

// FromFloats returns a tensor with a copy of data, row-major.
func (s *Scope) FromFloats(data []float32, shape ...int) *Tensor {
	d, n := dims(shape)
	return s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_tensor_from_f32(floats(data), C.int64_t(len(data)), d, n, C.int32_t(s.dev), out)
	})
}

// Full returns a tensor filled with v.
func (s *Scope) Full(v float32, shape ...int) *Tensor {
	d, n := dims(shape)
	return s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_tensor_full(C.float(v), d, n, C.int32_t(s.dev), out)
	})
}

func floats(v []float32) *C.float { return (*C.float)(unsafe.SliceData(v)) }

// CopyTo stores the tensor's values in dst, row-major; len(dst) must be their
// number. It waits for the device, and returns the scope's error if there is one.
func (t *Tensor) CopyTo(dst []float32) error {
	if t.s.usable(t) {
		t.s.Fail(statusError(C.nln_tensor_copy_to_f32(t.p, floats(dst), C.int64_t(len(dst)))))
	}
	return t.s.err
}

// Floats returns a copy of the tensor's values, nil if the scope has failed.
func (t *Tensor) Floats() []float32 {
	n := 1
	for _, d := range t.Shape() {
		n *= d
	}
	v := make([]float32, n)
	if t.CopyTo(v) != nil {
		return nil
	}
	return v
}

// Item returns the value of a tensor of one element, 0 if the scope has failed.
func (t *Tensor) Item() float32 {
	var v [1]float32
	if t.CopyTo(v[:]) != nil {
		return 0
	}
	return v[0]
}

// Shape returns the sizes of the tensor's dimensions, nil for a scalar or if
// the scope has failed.
func (t *Tensor) Shape() []int {
	if !t.s.usable(t) {
		return nil
	}
	return shapeOf(t.s, t.p)
}

func shapeOf(s *Scope, p *C.nln_tensor) []int {
	var d [8]C.int64_t
	var n C.int32_t
	if err := statusError(C.nln_tensor_shape(p, &d[0], C.int32_t(len(d)), &n)); err != nil {
		s.Fail(err)
		return nil
	}
	shape := make([]int, n)
	for i := range shape {
		shape[i] = int(d[i])
	}
	return shape
}

// Escape takes the tensor's values out of the scope as an owned tensor without
// gradient, which the caller closes.
func (t *Tensor) Escape() (*Owned, error) {
	if !t.s.usable(t) {
		return nil, t.s.err
	}
	var p *C.nln_tensor
	if err := statusError(C.nln_tensor_detach(t.p, &p)); err != nil {
		return nil, err
	}
	o := &Owned{p: p, shape: shapeOf(t.s, p)}
	o.net = runtime.AddCleanup(o, reclaim, p)
	return o, nil
}

var leaks atomic.Int64

// Leaks returns how many owned tensors were found without a Close by the
// garbage collector, which then frees them: a net, not a way to manage memory.
func Leaks() int { return int(leaks.Load()) }

func reclaim(p *C.nln_tensor) {
	leaks.Add(1)
	C.nln_tensor_free(p)
}

// An Owned tensor outlives scopes; the caller closes it.
type Owned struct {
	p     *C.nln_tensor
	shape []int
	net   runtime.Cleanup
}

// NewOwned returns an owned tensor on dev with a copy of data, row-major.
func NewOwned(dev Device, data []float32, shape ...int) (*Owned, error) {
	s := NewScope(dev)
	defer s.Close()
	return s.FromFloats(data, shape...).Escape()
}

// Close frees the tensor. It may be called again.
func (o *Owned) Close() error {
	if o.p != nil {
		o.net.Stop()
		C.nln_tensor_free(o.p)
		o.p = nil
	}
	return nil
}

// Shape returns the sizes of the tensor's dimensions.
func (o *Owned) Shape() []int { return o.shape }

// Len returns the number of values.
func (o *Owned) Len() int {
	n := 1
	for _, d := range o.shape {
		n *= d
	}
	return n
}

// In lends the tensor to a scope, which does not free it. In a scope that
// records no gradients it is lent as a constant.
func (o *Owned) In(s *Scope) *Tensor {
	if o.p == nil {
		s.Fail(errors.New("torch: owned tensor used after Close"))
	}
	defer runtime.KeepAlive(o)
	return s.op(func(out **C.nln_tensor) C.nln_status {
		if s.grad {
			return C.nln_tensor_alias(o.p, out)
		}
		return C.nln_tensor_detach(o.p, out)
	})
}

// SetRequiresGrad says whether gradients with respect to the tensor are wanted.
func (o *Owned) SetRequiresGrad(want bool) error {
	if o.p == nil {
		return errClosed
	}
	var v C.int32_t
	if want {
		v = 1
	}
	defer runtime.KeepAlive(o)
	return statusError(C.nln_tensor_set_requires_grad(o.p, v))
}

// CopyTo stores the tensor's values in dst, row-major; len(dst) must be Len.
func (o *Owned) CopyTo(dst []float32) error {
	if o.p == nil {
		return errClosed
	}
	defer runtime.KeepAlive(o)
	return statusError(C.nln_tensor_copy_to_f32(o.p, floats(dst), C.int64_t(len(dst))))
}

// Set overwrites the tensor's values with data, row-major; len(data) must be Len.
func (o *Owned) Set(data []float32) error {
	if o.p == nil {
		return errClosed
	}
	defer runtime.KeepAlive(o)
	return statusError(C.nln_tensor_assign_f32(o.p, floats(data), C.int64_t(len(data))))
}

// Scope returns the scope that t belongs to.
func (t *Tensor) Scope() *Scope { return t.s }
