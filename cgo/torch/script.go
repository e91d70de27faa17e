package torch

/*
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

// A Script is a network in a TorchScript file, for evaluation: without gradients,
// dropout, or statistics of the batch. It is for one goroutine at a time.
type Script struct {
	p   *C.nln_script
	dev Device
}

// LoadScript reads a TorchScript file onto dev. The caller closes the script, and
// trusts the file, which is a program. Errors of a script name its file.
func LoadScript(path string, dev Device) (*Script, error) {
	if err := core.Load(); err != nil {
		return nil, err
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	n := &Script{dev: dev}
	if err := statusError(C.nln_script_load(cpath, C.int32_t(dev), &n.p)); err != nil {
		return nil, err
	}
	return n, nil
}

// Close frees the script. It may be called again.
func (n *Script) Close() error {
	C.nln_script_free(n.p)
	n.p = nil
	return nil
}

// Forward returns what the script makes of x, whose first dimension is N: a new
// tensor (N, F) of finite values, where F is all that the script gives for a row.
// The scope fails if the script does or gives anything else. A script may change x.
func (n *Script) Forward(x *Tensor) *Tensor {
	switch {
	case n.p == nil:
		x.s.Fail(errors.New("torch: script used after Close"))
	case n.dev != x.s.dev:
		x.s.Fail(fmt.Errorf("torch: run script: the script is on %v, the tensor on %v", n.dev, x.s.dev))
	}
	defer runtime.KeepAlive(n)
	return x.s.op(func(out **C.nln_tensor) C.nln_status { return C.nln_script_forward(n.p, x.p, out) }, x)
}
