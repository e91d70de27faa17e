package torch

/*
#include "nln_core.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/nlnctl/nlnctl/cgo/internal/core"
)

// handles returns the core's handles of ts; nil stays nil.
func handles(ts []*Tensor) []*C.nln_tensor {
	p := make([]*C.nln_tensor, len(ts))
	for i, t := range ts {
		if t != nil {
			p[i] = t.p
		}
	}
	return p
}

// Grad returns the gradients of the scalar loss with respect to params, in
// their order, nil for a parameter that loss does not depend on. The graph of
// loss is freed unless keepGraph, which a second Grad through it needs.
//
// All operations must have been made in this scope, from a NewGradScope. If
// the scope has failed the result is nil.
func (s *Scope) Grad(loss *Tensor, params []*Owned, keepGraph bool) []*Tensor {
	if !s.usable(loss) || len(params) == 0 {
		return nil
	}
	in := make([]*C.nln_tensor, len(params))
	for i, o := range params {
		if o.p == nil {
			s.Fail(errClosed)
			return nil
		}
		in[i] = o.p
	}
	var keep C.int32_t
	if keepGraph {
		keep = 1
	}
	out := make([]*C.nln_tensor, len(params))
	st := C.nln_grad(loss.p, unsafe.SliceData(in), C.int32_t(len(in)), keep, unsafe.SliceData(out))
	runtime.KeepAlive(params)
	if err := statusError(st); err != nil {
		s.Fail(err)
		return nil
	}
	grads := make([]*Tensor, len(out))
	for i, p := range out {
		if p != nil {
			grads[i] = &Tensor{s: s, p: p}
			s.live = append(s.live, grads[i])
		}
	}
	return grads
}

// AdamConfig holds the settings of Adam.
type AdamConfig struct {
	LR           float64 // learning rate
	Beta1, Beta2 float64 // decay of the moments
	Eps          float64 // added to the root of the second moment, after bias correction
}

// DefaultAdam returns Adam as Keras sets it, with the given learning rate:
// decays 0.9 and 0.999, eps 1e-7.
func DefaultAdam(lr float64) AdamConfig {
	return AdamConfig{LR: lr, Beta1: 0.9, Beta2: 0.999, Eps: 1e-7}
}

// Adam updates parameters by the method of Kingma and Ba
// (https://arxiv.org/abs/1412.6980, algorithm 1).
type Adam struct {
	p      *C.nln_adam
	params []*Owned
}

// NewAdam returns an optimiser of params with zero moments. It shares the
// tensors, which must not be closed before it.
func NewAdam(params []*Owned, cfg AdamConfig) (*Adam, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	in := make([]*C.nln_tensor, len(params))
	for i, o := range params {
		if o.p == nil {
			return nil, errClosed
		}
		in[i] = o.p
	}
	a := &Adam{params: params}
	st := C.nln_adam_new(unsafe.SliceData(in), C.int32_t(len(in)), C.double(cfg.LR),
		C.double(cfg.Beta1), C.double(cfg.Beta2), C.double(cfg.Eps), &a.p)
	runtime.KeepAlive(params)
	return a, statusError(st)
}

// Close frees the moments. It may be called again.
func (a *Adam) Close() error {
	C.nln_adam_free(a.p)
	a.p = nil
	return nil
}

// Step makes one update with the gradients of the parameters, in their order;
// a nil gradient leaves its parameter as it is. It returns the error of the
// gradients' scope if that has failed.
func (a *Adam) Step(s *Scope, grads []*Tensor) error {
	for _, g := range grads {
		if g != nil && !s.usable(g) {
			break
		}
	}
	if s.err != nil {
		return s.err
	}
	if a.p == nil {
		return errors.New("torch: adam used after Close")
	}
	p := handles(grads)
	return statusError(C.nln_adam_step(a.p, unsafe.SliceData(p), C.int32_t(len(p))))
}

// AdamState is what Adam remembers of one parameter.
type AdamState struct {
	M, V  []float32 // first and second moment, of the parameter's shape
	Steps int       // updates so far
}

// State returns a copy of the state of parameter i.
func (a *Adam) State(i int) (AdamState, error) {
	var st AdamState
	err := a.withState(i, func(m, v *C.nln_tensor, steps int) error {
		n := a.params[i].Len()
		st = AdamState{M: make([]float32, n), V: make([]float32, n), Steps: steps}
		if err := statusError(C.nln_tensor_copy_to_f32(m, floats(st.M), C.int64_t(n))); err != nil {
			return err
		}
		return statusError(C.nln_tensor_copy_to_f32(v, floats(st.V), C.int64_t(n)))
	})
	return st, err
}

// SetState overwrites the state of parameter i, to go on from a checkpoint.
func (a *Adam) SetState(i int, st AdamState) error {
	return a.withState(i, func(m, v *C.nln_tensor, _ int) error {
		if err := statusError(C.nln_tensor_assign_f32(m, floats(st.M), C.int64_t(len(st.M)))); err != nil {
			return err
		}
		if err := statusError(C.nln_tensor_assign_f32(v, floats(st.V), C.int64_t(len(st.V)))); err != nil {
			return err
		}
		return statusError(C.nln_adam_set_steps(a.p, C.int32_t(i), C.int64_t(st.Steps)))
	})
}

func (a *Adam) withState(i int, f func(m, v *C.nln_tensor, steps int) error) error {
	if a.p == nil {
		return errors.New("torch: adam used after Close")
	}
	if i < 0 || i >= len(a.params) {
		return fmt.Errorf("torch: adam has %d parameters, no %d", len(a.params), i)
	}
	var m, v *C.nln_tensor
	var steps C.int64_t
	if err := statusError(C.nln_adam_state(a.p, C.int32_t(i), &m, &v, &steps)); err != nil {
		return err
	}
	defer C.nln_tensor_free(m)
	defer C.nln_tensor_free(v)
	return f(m, v, int(steps))
}

// A Generator draws random numbers; the same seed on the same device gives the
// same numbers.
type Generator struct{ p *C.nln_generator }

// NewGenerator returns a generator, which the caller closes.
func NewGenerator(seed uint64, dev Device) (*Generator, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	g := &Generator{}
	return g, statusError(C.nln_generator_new(C.uint64_t(seed), C.int32_t(dev), &g.p))
}

// Close frees the generator. It may be called again.
func (g *Generator) Close() error {
	C.nln_generator_free(g.p)
	g.p = nil
	return nil
}

var errNoGenerator = errors.New("torch: generator used after Close")

// RandN returns a tensor of standard normal values drawn from g.
func (s *Scope) RandN(g *Generator, shape ...int) *Tensor {
	if g.p == nil {
		s.Fail(errNoGenerator)
	}
	d, n := dims(shape)
	return s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_randn(g.p, d, n, C.int32_t(s.dev), out)
	})
}

// Uniform returns a tensor of values drawn from g, uniform in [lo, hi).
func (s *Scope) Uniform(g *Generator, lo, hi float32, shape ...int) *Tensor {
	if g.p == nil {
		s.Fail(errNoGenerator)
	}
	d, n := dims(shape)
	return s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_uniform(g.p, C.float(lo), C.float(hi), d, n, C.int32_t(s.dev), out)
	})
}
