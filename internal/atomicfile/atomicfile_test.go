package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// alone fails the test if dir holds anything but the named entries.
func alone(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(names) {
		t.Fatalf("%s holds %v, want %v", dir, entries, names)
	}
	for i, e := range entries {
		if e.Name() != names[i] {
			t.Fatalf("%s holds %v, want %v", dir, entries, names)
		}
	}
}

var errBoom = errors.New("boom")

func TestWriteKeepsTheOldFileOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put := func(s string, err error) error {
		return Write(path, func(w io.Writer) error {
			io.WriteString(w, s)
			return err
		})
	}
	if err := put("half", errBoom); !errors.Is(err, errBoom) {
		t.Errorf("Write = %v, want boom", err)
	}
	alone(t, dir)
	if err := put("one", nil); err != nil {
		t.Fatal(err)
	}
	if err := put("half", errBoom); !errors.Is(err, errBoom) {
		t.Errorf("Write = %v, want boom", err)
	}
	if got := read(t, path); got != "one" {
		t.Errorf("file holds %q", got)
	}
	if err := put("two", nil); err != nil || read(t, path) != "two" {
		t.Errorf("second write: %v, %q", err, read(t, path))
	}
	alone(t, dir, "f")
}

// A full disk shows as an error of the write or of the sync; /dev/full gives
// the first kind to the writer under test.
func TestWriteReportsAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer full.Close()
	dir := t.TempDir()
	err = Write(filepath.Join(dir, "f"), func(w io.Writer) error {
		_, err := full.Write([]byte("x"))
		return err
	})
	if err == nil {
		t.Error("no error")
	}
	alone(t, dir)
}

func TestWriteDir(t *testing.T) {
	for name, mv := range map[string]func(dir, path string, replace bool) error{"exchange": move, "in steps": moveInSteps} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			a, b, path := filepath.Join(top, "a"), filepath.Join(top, "b"), filepath.Join(top, "p")
			for _, d := range []string{a, b} {
				os.Mkdir(d, 0o755)
				os.WriteFile(filepath.Join(d, "f"), []byte(filepath.Base(d)), 0o644)
			}
			if err := mv(a, path, false); err != nil || read(t, filepath.Join(path, "f")) != "a" {
				t.Fatalf("first: %v", err)
			}
			if err := mv(b, path, false); !errors.Is(err, ErrExists) || read(t, filepath.Join(path, "f")) != "a" {
				t.Fatalf("without replace: %v", err)
			}
			if err := mv(b, path, true); err != nil || read(t, filepath.Join(path, "f")) != "b" {
				t.Fatalf("with replace: %v", err)
			}
		})
	}

	top := t.TempDir()
	path := filepath.Join(top, "d")
	put := func(s string, replace bool, err error) error {
		return WriteDir(path, replace, func(dir string) error {
			os.WriteFile(filepath.Join(dir, "f"), []byte(s), 0o644)
			return err
		})
	}
	if err := put("half", false, errBoom); !errors.Is(err, errBoom) {
		t.Errorf("WriteDir = %v, want boom", err)
	}
	alone(t, top)
	if err := put("one", false, nil); err != nil {
		t.Fatal(err)
	}
	if err := put("two", false, nil); !errors.Is(err, ErrExists) {
		t.Errorf("WriteDir over a directory = %v, want ErrExists", err)
	}
	if err := put("half", true, errBoom); !errors.Is(err, errBoom) {
		t.Errorf("WriteDir = %v, want boom", err)
	}
	if got := read(t, filepath.Join(path, "f")); got != "one" {
		t.Errorf("directory holds %q", got)
	}
	if err := put("two", true, nil); err != nil || read(t, filepath.Join(path, "f")) != "two" {
		t.Errorf("replacing: %v", err)
	}
	alone(t, top, "d")
}
