// Package core loads the native core, libnlncore.so, and turns its statuses
// into Go errors. It is what cgo/torch and cgo/faiss have in common.
//
// The core is loaded at run time and not linked, so that a Go program builds
// without libtorch, starts without it where it needs none (help, version), and
// can say in plain words what is missing.
package core

/*
#cgo CFLAGS: -I${SRCDIR}/../../native -std=gnu11 -Wall -Wextra
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "nln_core.h"
#include "load.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

//go:generate go run ./genstubs ../../native/nln_core.h stubs.c

// ErrOutOfMemory is wrapped by the error of an operation for which the host or
// the device had too little memory.
var ErrOutOfMemory = errors.New("out of memory")

// ErrUnsupported is wrapped by the error of an operation that the loaded core
// was built without.
var ErrUnsupported = errors.New("not supported by this core")

// Status codes of nln_core.h.
const (
	codeOK          = int32(C.NLN_OK)
	codeNoMemory    = int32(C.NLN_NO_MEMORY)
	codeUnsupported = int32(C.NLN_UNSUPPORTED)
	codeNotLoaded   = int32(C.NLN_NOT_LOADED)
)

// Error makes the error of a status, nil for success, and frees the message.
// pkg is the name of the package that made the call, with which the text begins.
func Error(pkg string, code int32, message unsafe.Pointer) error {
	if code == codeOK {
		return nil
	}
	if code == codeNotLoaded {
		return fmt.Errorf("%s: the native core is not loaded", pkg)
	}
	text := C.GoString((*C.char)(message))
	C.nln_message_free((*C.char)(message))
	// libtorch adds its own stack trace in lines of their own.
	text, _, _ = strings.Cut(text, "\nException raised from")
	text = strings.TrimSpace(text)
	switch code {
	case codeNoMemory:
		return fmt.Errorf("%s: %w: %s", pkg, ErrOutOfMemory, text)
	case codeUnsupported:
		return fmt.Errorf("%s: %w: %s", pkg, ErrUnsupported, text)
	}
	return fmt.Errorf("%s: %s", pkg, text)
}

// LiveHandles returns how many objects of the core exist; tests end at the
// number they began with.
func LiveHandles() int { return int(C.nln_live_handles()) }

var state struct {
	sync.Mutex
	loaded  bool
	path    string
	threads int
}

// Load loads the core if it is not loaded yet. A failure is not remembered, so
// that a later call may succeed.
func Load() error {
	state.Lock()
	defer state.Unlock()
	return load()
}

func load() error {
	if state.loaded {
		return nil
	}
	prepare()
	var tried []string
	for _, path := range candidates() {
		if strings.Contains(path, "/") {
			if _, err := os.Stat(path); err != nil {
				tried = append(tried, path+": no such file")
				continue
			}
		}
		if err := dlopen(path); err != nil {
			tried = append(tried, fmt.Sprintf("%s: %v", path, err))
			// A core that is there and does not load is the one to mend: going
			// on to another would hide it.
			if strings.Contains(path, "/") {
				break
			}
			continue
		}
		if err := setUp(); err != nil {
			return err
		}
		state.loaded, state.path = true, path
		return nil
	}
	return &LoadError{Tried: tried}
}

// A LoadError says where the core was looked for and what was found there.
type LoadError struct{ Tried []string }

func (e *LoadError) Error() string {
	return "core: cannot load the native core: " + strings.Join(e.Tried, "; ")
}

// Hint says what mends a LoadError.
func (e *LoadError) Hint() string {
	return "build it with \"make core\" in the source tree, install what it needs with \"make deps\", or name it in NLN_CORE"
}

// Path returns the file the core was loaded from, "" before that.
func Path() string {
	state.Lock()
	defer state.Unlock()
	return state.path
}

// MaxThreads is the largest number of threads that SetThreads takes. Far more
// than there are processors gain nothing, and can use up what the system has.
func MaxThreads() int { return max(64, 4*runtime.NumCPU()) }

// SetThreads sets the number of threads that the core computes with, in all its
// libraries; 0 means one for each processor that the process may use, which
// GOMAXPROCS knows: the affinity and a limit of the container count, where OpenMP
// sees the first alone. It may come before Load.
func SetThreads(n int) error {
	if n < 0 || n > MaxThreads() {
		return fmt.Errorf("core: have %d threads, want 0 to %d", n, MaxThreads())
	}
	state.Lock()
	defer state.Unlock()
	state.threads = n
	if !state.loaded {
		return nil
	}
	return setUp()
}

// setUp tells the loaded core how many threads there are.
func setUp() error {
	n := state.threads
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	st := C.nln_init(C.int32_t(n))
	return Error("core", int32(st.code), unsafe.Pointer(st.message))
}

// Info returns the core's description of itself, a JSON object. It must not be
// called within Run.
func Info() ([]byte, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	var text *C.char
	// Where the work is done, since the numbers of threads belong to a thread.
	err := Run(func() error {
		st := C.nln_info(&text)
		return Error("core", int32(st.code), unsafe.Pointer(st.message))
	})
	if err != nil {
		return nil, err
	}
	defer C.nln_message_free(text)
	return []byte(C.GoString(text)), nil
}

// candidates returns where the core may be, in the order in which it is tried:
// NLN_CORE; beside the program, as make and make install lay it out; in the
// source tree that the program was built from, which serves tests; and where
// the dynamic linker looks.
func candidates() []string {
	if path := os.Getenv("NLN_CORE"); path != "" {
		if !strings.Contains(path, "/") {
			path = "./" + path
		}
		return []string{path}
	}
	const name = "libnlncore.so"
	var paths []string
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			paths = append(paths, filepath.Join(filepath.Dir(exe), "..", "lib", name))
		}
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		root := filepath.Join(filepath.Dir(file), "..", "..", "..")
		paths = append(paths, filepath.Join(root, "build", "lib", name))
	}
	return append(paths, name)
}

func dlopen(path string) error {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	if msg := C.nln_load(cpath); msg != nil {
		defer C.free(unsafe.Pointer(msg))
		return errors.New(C.GoString(msg))
	}
	return nil
}
