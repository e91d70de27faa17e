package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenLocked opens a file, with flags of package os, and locks it for this
// process until it is closed or the process ends, however that may be. Where
// another one has it locked the error wraps unix.EWOULDBLOCK. A file that is
// created can be read by all.
//
// The file is the one that has the name once it is locked: who had it before may
// have renamed or removed it.
func OpenLocked(path string, flags int) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, flags, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if named, err := os.Stat(path); err == nil && os.SameFile(mine, named) {
			return f, nil
		}
		f.Close()
	}
}

// ErrLocked is wrapped by the error of Lock when another process has the lock.
var ErrLocked = errors.New("another program is changing it")

// Lock keeps other callers of Lock from path, which need not exist, until unlock
// is called or the process ends. It does not wait. The lock is a file beside path,
// .NAME.lock, which unlock removes.
func Lock(path string) (unlock func() error, err error) {
	path = filepath.Clean(path)
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".lock")
	f, err := OpenLocked(name, os.O_RDWR|os.O_CREATE)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(os.Remove(name), f.Close()) }, nil
}

// IsLeftover says whether a file or directory of that name beside path is what a
// writer of path leaves that was ended in the middle.
func IsLeftover(name, path string) bool {
	number, ok := strings.CutPrefix(name, "."+filepath.Base(path)+".")
	if number, tmp := strings.CutSuffix(number, ".tmp"); ok && tmp {
		_, err := strconv.ParseUint(number, 10, 64)
		return err == nil
	}
	return false
}

// Sweep removes what writers of path left beside it that were ended in the middle.
// The caller has locked path, and all writers of path lock it.
func Sweep(path string) error {
	path = filepath.Clean(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if IsLeftover(e.Name(), path) {
			errs = append(errs, os.RemoveAll(filepath.Join(filepath.Dir(path), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Publish gives the open file f, which is whole, the name path, in place of what
// has it. f keeps its content, whatever happens.
func Publish(f *os.File, path string) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
