// Package atomicfile replaces files and directories whole: after a failure or a
// crash at any moment, either what was there before or the new content is found
// under the name, never a mixture. On a file system that cannot exchange two
// names there is a moment in which a directory is found under neither: a crash
// then leaves the old one beside its place, as .NAME.*.tmp.old.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Write replaces the file at path with what write writes. On an error the file
// is as it was. A link is followed, and stays. What is no regular file, such as
// a pipe or a device, is not replaced but written to.
func Write(path string, write func(io.Writer) error) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return writeTo(path, write)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTo writes to what is at path, which cannot be replaced.
func writeTo(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	w := bufio.NewWriterSize(f, 1<<16)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ErrExists is wrapped by the error of WriteDir when something is at its path
// that it was not told to replace.
var ErrExists = errors.New("exists already")

// WriteDir puts a directory at path, which fill has filled under another name
// beside it. What is at path already is replaced if replace is set, else it is
// an error that wraps ErrExists. On an error path is as it was.
func WriteDir(path string, replace bool, fill func(dir string) error) (err error) {
	path = filepath.Clean(path)
	if _, err := os.Lstat(path); err == nil && !replace {
		return fmt.Errorf("write %s: %w", path, ErrExists)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		// After an exchange this is what was at path before.
		if rerr := os.RemoveAll(dir); err == nil && rerr != nil {
			err = rerr
		}
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := fill(dir); err != nil {
		return err
	}
	if err := syncTree(dir); err != nil {
		return err
	}
	if err := move(dir, path, replace); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// move renames dir to path; what is at path is exchanged with it if replace.
func move(dir, path string, replace bool) error {
	err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		if !replace {
			return ErrExists
		}
		err = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// A file system without these flags: there is a moment without path.
		return moveInSteps(dir, path, replace)
	}
	return err
}

func moveInSteps(dir, path string, replace bool) error {
	if _, err := os.Lstat(path); err == nil {
		if !replace {
			return ErrExists
		}
		old := dir + ".old"
		if err := os.Rename(path, old); err != nil {
			return err
		}
		if err := os.Rename(dir, path); err != nil {
			return errors.Join(err, os.Rename(old, path))
		}
		return os.RemoveAll(old)
	}
	return os.Rename(dir, path)
}

func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncDir(path)
	})
}

// syncDir makes what a file or directory holds durable.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
