// Package search binds the exact search of the native core. It is a raw
// binding; package faissindex is the one to use for scoring.
//
// The search goes through the vectors as small whole numbers, a byte a value,
// which name in exact arithmetic all that can be among the nearest; only their
// distances are computed. The results are those of nln.Exact, to the bit.
//
// The package needs the native core at run time, and no C++ to build.
package search

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
	"strings"
	"unsafe"

	"github.com/nlnctl/nlnctl/cgo/internal/core"
)

// ErrUnsupported is wrapped by the error of Pack for a level that this
// processor does not have.
var ErrUnsupported = core.ErrUnsupported

var errClosed = errors.New("search: used after Close")

// Levels returns the names of the instruction sets that Pack takes on this
// processor, the fastest first. The last one, "plain", is on all.
func Levels() ([]string, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	var names *C.char
	if err := statusError(C.nln_search_levels(&names)); err != nil {
		return nil, err
	}
	defer C.nln_message_free(names)
	return strings.Split(C.GoString(names), ","), nil
}

// Packed holds what is kept to search vectors besides the vectors themselves: a
// byte for each of their values and four bytes a vector. Several goroutines may
// search at the same time; they share the threads of the core.
type Packed struct {
	p          *C.nln_search
	dim, count int
}

// Pack packs vectors, row-major, at least one, each of dim finite values. level
// is one of Levels, or "" for the fastest; all give the same results. The caller
// closes what it returns.
func Pack(vectors []float32, dim int, level string) (*Packed, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	if dim < 1 || len(vectors) == 0 || len(vectors)%dim != 0 {
		return nil, fmt.Errorf("search: pack: have %d values, want a multiple of the dimension %d, above 0", len(vectors), dim)
	}
	clevel := C.CString(level)
	defer C.free(unsafe.Pointer(clevel))
	x := &Packed{dim: dim, count: len(vectors) / dim}
	if err := statusError(C.nln_search_new(floats(vectors), C.int64_t(x.count), C.int64_t(dim), clevel, &x.p)); err != nil {
		return nil, err
	}
	return x, nil
}

// Close frees what was packed. It may be called again.
func (x *Packed) Close() error {
	C.nln_search_free(x.p)
	x.p = nil
	return nil
}

// Len returns the number of vectors that were packed.
func (x *Packed) Len() int { return x.count }

// Search stores the k nearest of vectors for each query, nearest first, equal
// distances by id; dist and ids have room for k values a query, row-major.
// vectors are those of Pack, unchanged, and any that were added since, each of
// which costs about as much as fifty that are packed. k is at most the number of
// vectors. Vectors and queries must be finite.
func (x *Packed) Search(vectors, queries []float32, k int, dist []float32, ids []int64) error {
	if x.p == nil {
		return errClosed
	}
	n := len(queries) / x.dim
	if len(vectors)%x.dim != 0 || len(queries)%x.dim != 0 {
		return fmt.Errorf("search: have %d values of vectors and %d of queries, want multiples of %d", len(vectors), len(queries), x.dim)
	}
	if k < 1 || len(dist) != n*k || len(ids) != n*k {
		return fmt.Errorf("search: have k = %d, %d queries, room for %d distances and %d ids", k, n, len(dist), len(ids))
	}
	defer runtime.KeepAlive(x)
	return statusError(C.nln_search_run(x.p, floats(vectors), C.int64_t(len(vectors)/x.dim), floats(queries),
		C.int64_t(n), C.int64_t(k), floats(dist), (*C.int64_t)(unsafe.SliceData(ids))))
}

func floats(v []float32) *C.float { return (*C.float)(unsafe.SliceData(v)) }

func statusError(st C.nln_status) error {
	return core.Error("search", int32(st.code), unsafe.Pointer(st.message))
}
