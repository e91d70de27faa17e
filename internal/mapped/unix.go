//go:build unix

package mapped

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps the n bytes of f, or returns nil where that is not possible, as on
// some file systems.
func mapFile(f *os.File, n int) *File {
	b, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil
	}
	return &File{Data: b, unmap: func() error { return unix.Munmap(b) }}
}
