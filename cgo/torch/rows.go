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

// FromBytes returns a tensor of bytes with a copy of data, row-major. It is for
// TakeRows, ScaleImages and as a table of MeanAbsRows.
func (s *Scope) FromBytes(data []uint8, shape ...int) *Tensor {
	d, n := dims(shape)
	return s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_tensor_from_u8((*C.uint8_t)(unsafe.SliceData(data)), C.int64_t(len(data)), d, n, C.int32_t(s.dev), out)
	})
}

// FromIDs returns a tensor of ids with a copy of data, row-major.
func (s *Scope) FromIDs(data []int64, shape ...int) *Tensor {
	d, n := dims(shape)
	return s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_tensor_from_i64((*C.int64_t)(unsafe.SliceData(data)), C.int64_t(len(data)), d, n, C.int32_t(s.dev), out)
	})
}

// CopyIDsTo stores a tensor of ids in dst, row-major; len(dst) must be their number.
// It waits for the device, and returns the scope's error if there is one.
func (t *Tensor) CopyIDsTo(dst []int64) error {
	if t.s.usable(t) {
		t.s.Fail(statusError(C.nln_tensor_copy_to_i64(t.p, (*C.int64_t)(unsafe.SliceData(dst)), C.int64_t(len(dst)))))
	}
	return t.s.err
}

// Assign overwrites the tensor's values with x's, of the same shape and type. It
// takes staged memory without waiting for the device.
func (t *Tensor) Assign(x *Tensor) {
	if t.s.usable(t, x) {
		t.s.Fail(statusError(C.nln_tensor_assign(t.p, x.p)))
	}
}

// TakeRows returns rows of t by their numbers: ids (N), t (M, ...), the result
// (N, ...) of t's type.
func (t *Tensor) TakeRows(ids *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_take_rows(t.p, ids.p, out) }, t, ids)
}

// ScaleImages returns the images t, bytes (N, C, H, W), as values in [0, 1]: divided
// by 255, or, with minmax, with each channel of each image stretched over its own
// range, a constant one to 0. Values are those of package dataset to the bit.
func (t *Tensor) ScaleImages(minmax bool) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_scale_images(t.p, flag(minmax), out) }, t)
}

// MeanAbsRows returns the mean absolute difference of each row of t (N, F) to K rows
// of a table (M, F), whose numbers are ids (N, K): (N, K). The table holds float32,
// or bytes that stand for 255 times the value.
func (t *Tensor) MeanAbsRows(table, ids *Tensor) *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status {
		return C.nln_mean_abs_rows(t.p, table.p, ids.p, out)
	}, t, table, ids)
}

// PrefixMeans returns the means of the first 1, 2, ... K values of each row of t
// (N, K).
func (t *Tensor) PrefixMeans() *Tensor {
	return t.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_prefix_means(t.p, out) }, t)
}

// An Element is the type of a tensor's values: float32, or uint8 and int64 for the
// few that hold bytes and ids.
type Element interface{ float32 | uint8 | int64 }

// Staging is memory of the host that a CUDA device copies from and to while it
// computes; plain memory where there is no CUDA.
type Staging[T Element] struct {
	Data []T // row-major; invalid after Close
	o    Owned
}

// NewStaging returns zeros of a shape, which the caller closes when no copy from or
// to them is under way.
func NewStaging[T Element](shape ...int) (*Staging[T], error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	var zero T
	code := C.int32_t(C.NLN_DTYPE_F32)
	switch any(zero).(type) {
	case uint8:
		code = C.NLN_DTYPE_U8
	case int64:
		code = C.NLN_DTYPE_I64
	}
	m := &Staging[T]{o: Owned{shape: shape}}
	d, n := dims(shape)
	var data unsafe.Pointer
	if err := statusError(C.nln_tensor_staging(code, d, n, &data, &m.o.p)); err != nil {
		return nil, err
	}
	m.Data = unsafe.Slice((*T)(data), m.o.Len())
	return m, nil
}

// In lends the memory to a scope, to be copied from with Assign.
func (m *Staging[T]) In(s *Scope) *Tensor { return m.o.In(s) }

// Close frees the memory. It may be called again.
func (m *Staging[T]) Close() error {
	m.Data = nil
	return m.o.Close()
}

// Near finds the nearest of some vectors exactly, on their device. It is for one
// goroutine at a time.
type Near struct {
	p        *C.nln_near
	dev      Device
	len, dim int
}

// NewNear returns a search among the vectors (M, L), finite values, M at least 1,
// which it shares: they must not change. The caller closes both.
func NewNear(dev Device, vectors *Owned) (*Near, error) {
	if vectors.p == nil {
		return nil, errClosed
	}
	if len(vectors.shape) != 2 {
		return nil, fmt.Errorf("torch: search: vectors have shape %v, want (M, L)", vectors.shape)
	}
	defer runtime.KeepAlive(vectors)
	n := &Near{dev: dev, len: vectors.shape[0], dim: vectors.shape[1]}
	return n, statusError(C.nln_near_new(vectors.p, &n.p))
}

// Close frees what the search keeps beside the vectors. It may be called again.
func (n *Near) Close() error {
	C.nln_near_free(n.p)
	n.p = nil
	return nil
}

// Len returns the number of vectors.
func (n *Near) Len() int { return n.len }

// Dim returns the length of each vector.
func (n *Near) Dim() int { return n.dim }

// Search returns the k nearest vectors of each of the queries (N, L): Euclidean
// distances (N, k), nearest first, and ids (N, k), equal distances by id. A distance
// is a float64 sum rounded to float32. Where unsure (N) is not 0 the search cannot
// show that it missed none, as happens among many equal vectors: ask All.
func (n *Near) Search(queries *Tensor, k int) (dist, ids, unsure *Tensor) {
	var p [3]*C.nln_tensor
	s := queries.s
	if !n.usable(queries) {
		t := &Tensor{s: s}
		return t, t, t
	}
	err := statusError(C.nln_near_search(n.p, queries.p, C.int64_t(k), &p[0], &p[1], &p[2]))
	runtime.KeepAlive(n)
	return s.held(err, p[0]), s.held(err, p[1]), s.held(err, p[2])
}

// All returns what Search does, by comparing each query with each vector in float64,
// which takes many times as long.
func (n *Near) All(queries *Tensor, k int) (dist, ids *Tensor) {
	var p [2]*C.nln_tensor
	s := queries.s
	if !n.usable(queries) {
		t := &Tensor{s: s}
		return t, t
	}
	err := statusError(C.nln_near_all(n.p, queries.p, C.int64_t(k), &p[0], &p[1]))
	runtime.KeepAlive(n)
	return s.held(err, p[0]), s.held(err, p[1])
}

func (n *Near) usable(queries *Tensor) bool {
	s := queries.s
	switch {
	case n.p == nil:
		s.Fail(errors.New("torch: search used after Close"))
	case n.dev != s.dev:
		s.Fail(fmt.Errorf("torch: search: the vectors are on %v, the queries on %v", n.dev, s.dev))
	}
	return s.usable(queries)
}
