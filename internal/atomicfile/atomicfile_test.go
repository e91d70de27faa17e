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

// A device is written to, never replaced: "-o /dev/null" as root must leave the
// device. The full one also shows that the error of a full disk is reported.
func TestWriteLeavesDevices(t *testing.T) {
	for path, fails := range map[string]bool{"/dev/null": false, "/dev/full": true} {
		before, err := os.Stat(path)
		if err != nil || before.Mode()&os.ModeCharDevice == 0 {
			t.Skipf("%s is no device on this system", path)
		}
		dir := t.TempDir()
		link := filepath.Join(dir, "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		err = Write(link, func(w io.Writer) error { // through a link: a mistake replaces that alone
			_, err := io.WriteString(w, "x")
			return err
		})
		if (err != nil) != fails {
			t.Errorf("%s: error %v", path, err)
		}
		if after, err := os.Lstat(path); err != nil || after.Mode() != before.Mode() {
			t.Errorf("%s was %v, is %v, %v", path, before.Mode(), after.Mode(), err)
		}
		if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link to %s was replaced", path)
		}
		alone(t, dir, "link")
	}
}

func TestWriteFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	os.WriteFile(target, []byte("old"), 0o644)
	os.Symlink("target", link)
	if err := Write(link, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 || read(t, target) != "new" {
		t.Errorf("link %v, target %q", st, read(t, target))
	}
	alone(t, dir, "link", "target")
	if err := Write(dir, func(io.Writer) error { return nil }); err == nil {
		t.Error("writing to a directory: no error")
	}
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
