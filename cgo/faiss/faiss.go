// Package faiss binds the search half of the native core: nearest neighbours by
// FAISS. It is a raw binding; package faissindex is the one to use for scoring.
//
// Distances are SQUARED Euclidean distances as FAISS computes them: rounding
// can make them slightly negative, and equal ones come in any order.
//
// The package needs the native core at run time, and no FAISS to build.
package faiss

/*
#cgo CFLAGS: -I${SRCDIR}/../native -std=gnu11 -Wall -Wextra
#include <stdlib.h>
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

// ErrUnsupported is wrapped by the error of an operation that the kind of
// index does not offer.
var ErrUnsupported = core.ErrUnsupported

var errClosed = errors.New("faiss: index used after Close")

// An Index holds vectors of one length, numbered from 0 in the order of Add.
// Several goroutines may search at the same time, and take turns; Add needs the
// index alone. Train, Add and Search must not be called within torch.Run.
type Index struct {
	p   *C.nln_index
	dim int
}

// New returns an empty index over vectors of dim values; factory is a FAISS
// factory string, such as "Flat" for exact search. The caller closes it.
func New(dim int, factory string) (*Index, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	cfactory := C.CString(factory)
	defer C.free(unsafe.Pointer(cfactory))
	x := &Index{dim: dim}
	if err := statusError(C.nln_index_new(C.int64_t(dim), cfactory, &x.p)); err != nil {
		return nil, err
	}
	return x, nil
}

// Read returns the index that Write stored in a file. FAISS trusts the file:
// check its origin or its checksum first.
func Read(path string) (*Index, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	x := &Index{}
	if err := statusError(C.nln_index_read(cpath, &x.p)); err != nil {
		return nil, err
	}
	if x.dim, _ = x.size(); x.dim < 1 {
		x.Close()
		return nil, fmt.Errorf("faiss: read index: %s holds vectors of %d values", path, x.dim)
	}
	return x, nil
}

// Close frees the index. It may be called again.
func (x *Index) Close() error {
	C.nln_index_free(x.p)
	x.p = nil
	return nil
}

// Dim returns the length of the vectors.
func (x *Index) Dim() int { return x.dim }

// Len returns the number of vectors, 0 after Close.
func (x *Index) Len() int {
	_, n := x.size()
	return n
}

func (x *Index) size() (dim, n int) {
	if x.p == nil {
		return x.dim, 0
	}
	var d, c C.int64_t
	if err := statusError(C.nln_index_size(x.p, &d, &c)); err != nil {
		panic(err) // reading two numbers cannot fail
	}
	return int(d), int(c)
}

// Kinds of an index, as Kind names them.
const (
	KindFlat  = "flat"  // compares with every vector
	KindHNSW  = "hnsw"  // walks a graph of neighbours
	KindIVF   = "ivf"   // compares with the vectors of some lists
	KindOther = "other" // anything else that FAISS has
)

// Kind returns the kind of the index and how much a search looks at: efSearch of
// HNSW, nprobe of IVF, 0 for the others.
func (x *Index) Kind() (kind string, effort int, err error) {
	if x.p == nil {
		return "", 0, errClosed
	}
	defer runtime.KeepAlive(x)
	var name *C.char
	var e C.int64_t
	if err := statusError(C.nln_index_kind(x.p, &name, &e)); err != nil {
		return "", 0, err
	}
	return C.GoString(name), int(e), nil
}

// SetEffort sets how much a search looks at, see Kind; ErrUnsupported is wrapped
// for a kind that always makes the same effort.
func (x *Index) SetEffort(effort int) error {
	if x.p == nil {
		return errClosed
	}
	defer runtime.KeepAlive(x)
	return statusError(C.nln_index_set_effort(x.p, C.int64_t(effort)))
}

// Train prepares an index whose kind needs it, such as one with lists, by vectors
// like those that will be added, row-major; others need none and ignore it.
func (x *Index) Train(vectors []float32) error {
	n, err := x.rows(vectors)
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(x)
	return run(func() C.nln_status { return C.nln_index_train(x.p, floats(vectors), C.int64_t(n)) })
}

// Add appends vectors, row-major, len a multiple of Dim.
func (x *Index) Add(vectors []float32) error {
	n, err := x.rows(vectors)
	if err != nil || n == 0 {
		return err
	}
	defer runtime.KeepAlive(x)
	return run(func() C.nln_status { return C.nln_index_add(x.p, floats(vectors), C.int64_t(n)) })
}

// Search stores the k nearest vectors of each query, nearest first: dist and
// ids have room for k values a query, row-major. An id is -1 where fewer than k
// vectors were found.
func (x *Index) Search(queries []float32, k int, dist []float32, ids []int64) error {
	n, err := x.rows(queries)
	if err != nil || n == 0 {
		return err
	}
	if k < 1 || len(dist) != n*k || len(ids) != n*k {
		return fmt.Errorf("faiss: search: have k = %d, %d queries, room for %d distances and %d ids", k, n, len(dist), len(ids))
	}
	defer runtime.KeepAlive(x)
	return run(func() C.nln_status {
		return C.nln_index_search(x.p, floats(queries), C.int64_t(n), C.int64_t(k), floats(dist), (*C.int64_t)(unsafe.SliceData(ids)))
	})
}

// Vectors returns the vectors themselves, row-major, Len*Dim values, in the
// index's own memory: not to be changed, and valid until the next Add or Close.
// A flat index has them, and one that stands on a flat one (HNSW, RFlat).
func (x *Index) Vectors() ([]float32, error) {
	if x.p == nil {
		return nil, errClosed
	}
	var v *C.float
	if err := statusError(C.nln_index_vectors(x.p, &v)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*float32)(v), x.Len()*x.dim), nil
}

// OnGPU returns a copy of a flat index on a CUDA device, which the caller closes.
// It is for Search. The error wraps ErrUnsupported where the index is of another
// kind or the core was built without FAISS's GPU side.
func (x *Index) OnGPU(device int) (*Index, error) {
	if x.p == nil {
		return nil, errClosed
	}
	defer runtime.KeepAlive(x)
	g := &Index{dim: x.dim}
	err := run(func() C.nln_status { return C.nln_index_on_gpu(x.p, C.int32_t(device), &g.p) })
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Write stores the index in a file, which it replaces.
func (x *Index) Write(path string) error {
	if x.p == nil {
		return errClosed
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	defer runtime.KeepAlive(x)
	return statusError(C.nln_index_write(x.p, cpath))
}

// rows returns how many vectors v holds.
func (x *Index) rows(v []float32) (int, error) {
	if x.p == nil {
		return 0, errClosed
	}
	if len(v)%x.dim != 0 {
		return 0, fmt.Errorf("faiss: have %d values, want a multiple of %d", len(v), x.dim)
	}
	return len(v) / x.dim, nil
}

// run makes a call in which FAISS computes with several threads: it is made where
// OpenMP has them.
func run(call func() C.nln_status) error {
	return core.Run(func() error { return statusError(call()) })
}

func floats(v []float32) *C.float { return (*C.float)(unsafe.SliceData(v)) }

func statusError(st C.nln_status) error {
	return core.Error("faiss", int32(st.code), unsafe.Pointer(st.message))
}
