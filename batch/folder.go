package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A folder is a store in a file system, which processes of several machines may
// share. The driver for files of gocloud.dev/blob is not used here: it looks whether
// an object is there before it writes, so that two may write, and syncs nothing.
type folder string

// drafts is the folder below the store in which files are written.
const drafts = ".tmp"

func (d folder) path(key string) string { return filepath.Join(string(d), filepath.FromSlash(key)) }

func (d folder) read(_ context.Context, key string, off, n int64) ([]byte, error) {
	if n < 0 {
		return os.ReadFile(d.path(key))
	}
	f, err := os.Open(d.path(key))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, n)
	_, err = f.ReadAt(buf, off)
	return buf, err
}

func (d folder) open(_ context.Context, key string) (io.ReadCloser, error) {
	return os.Open(d.path(key))
}

func (d folder) exists(_ context.Context, key string) (bool, error) {
	_, err := os.Stat(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (d folder) list(ctx context.Context, under string) iter.Seq2[object, error] {
	return func(yield func(object, error) bool) {
		f, err := os.Open(d.path(under))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(object{}, err)
			return
		}
		defer f.Close()
		for {
			entries, err := f.ReadDir(1000)
			for _, e := range entries {
				info, err := e.Info()
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err == nil && !info.Mode().IsRegular() {
					continue
				}
				if err != nil {
					yield(object{}, err)
					return
				}
				if !yield(object{under + e.Name(), info.Size()}, nil) {
					return
				}
			}
			if err == nil {
				err = ctx.Err()
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(object{}, err)
				return
			}
		}
	}
}

func (d folder) remove(_ context.Context, key string) error {
	if err := os.Remove(d.path(key)); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(d.path(key)))
}

func (d folder) stage() (*os.File, error) {
	f, err := os.CreateTemp(d.path(drafts), "*")
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeFolder(d.path(drafts)); err != nil {
			return nil, err
		}
		f, err = os.CreateTemp(d.path(drafts), "*")
	}
	return f, err
}

func (d folder) commit(ctx context.Context, f *os.File, key string, anew bool) (bool, error) {
	if err := f.Chmod(0o644); err != nil {
		return false, err
	}
	if err := f.Sync(); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	to := d.path(key)
	if err := makeFolder(filepath.Dir(to)); err != nil {
		return false, err
	}
	if !anew {
		if err := os.Rename(f.Name(), to); err != nil {
			return false, err
		}
		return true, syncFolder(filepath.Dir(to))
	}
	created, err := nameAnew(f.Name(), to)
	if errors.Is(err, fs.ErrNotExist) {
		// The draft was swept: all results were there meanwhile.
		if there, err := d.exists(ctx, key); there && err == nil {
			return false, nil
		}
	}
	if err != nil || !created {
		return false, err
	}
	return true, syncFolder(filepath.Dir(to))
}

// nameAnew renames a file unless the name is taken, in one step.
func nameAnew(from, to string) (bool, error) {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
		err = os.Link(from, to) // NFS has no such flag
		if errors.Is(err, fs.ErrExist) && sameFile(from, to) {
			err = nil // a request that NFS sent twice
		}
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP):
		return false, fmt.Errorf("the file system can neither link a file nor rename it without replacing another: use a folder on another one: %w", err)
	}
	return false, &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

func (d folder) sweep() { os.RemoveAll(d.path(drafts)) }

func (d folder) close() error { return nil }

// makeFolder makes a folder and those above it, durably.
func makeFolder(path string) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	above := filepath.Dir(path)
	if above != path {
		if err := makeFolder(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(above)
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
