package torch

import "github.com/nlnctl/nlnctl/cgo/internal/core"

// Run calls f on the one thread that all work for libtorch should share, and
// waits for it. Calls come one after the other; packages that use FAISS share the
// thread.
//
// On any other thread OpenMP would make threads of its own for it, which compete
// for the same processors. The hand-over costs some microseconds: give it a whole
// step or batch. f must not call Run, nor search in an approximate index.
func Run(f func() error) error { return core.Run(f) }
