// Package mapped gives the content of files as memory, without reading what is
// not used: the system fetches each page when it is first looked at, shares it
// among processes and may drop it again.
//
// A mapped file must stay as it is. What another program writes into it shows,
// and looking at what it has cut off ends the program (SIGBUS). A file that is
// replaced under its name, as package atomicfile does it, stays as it was for
// those who have mapped it.
package mapped

import (
	"fmt"
	"io"
	"os"
)

// A File is the content of a file.
type File struct {
	Data  []byte // not to be changed, nor looked at after Close
	unmap func() error
}

// New returns the content of f, which may be closed afterwards. The caller closes
// what it returns. Where a file cannot be mapped it is read.
func New(f *os.File) (*File, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	if n := st.Size(); st.Mode().IsRegular() && n > 0 && n == int64(int(n)) {
		if m := mapFile(f, int(n)); m != nil {
			return m, nil
		}
	}
	return read(f)
}

// read returns the content of f from its beginning in memory of its own.
func read(f *os.File) (*File, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return &File{Data: b}, nil
}

// Close gives the memory back. It may be called again.
func (m *File) Close() error {
	unmap := m.unmap
	m.Data, m.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	return unmap()
}
