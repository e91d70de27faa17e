package mapped

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func create(t *testing.T, content []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// mappings counts the mappings of a file, as Linux tells them.
func mappings(t *testing.T, path string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("this system does not list its mappings:", err)
	}
	return strings.Count(string(maps), path)
}

func TestMappedIsTheContent(t *testing.T) {
	for _, content := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("0123456789abcdef"), 10_000)} {
		f := create(t, content)
		for name, open := range map[string]func(*os.File) (*File, error){"New": New, "read": read} {
			m, err := open(f)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Data, content) {
				t.Errorf("%s: %d bytes, want %d", name, len(m.Data), len(content))
			}
			if err := m.Close(); err != nil || m.Data != nil {
				t.Errorf("%s: Close: %v", name, err)
			}
			if err := m.Close(); err != nil {
				t.Errorf("%s: second Close: %v", name, err)
			}
		}
	}
}

func TestCloseUnmaps(t *testing.T) {
	f := create(t, []byte("content"))
	m, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	if n := mappings(t, f.Name()); n != 1 {
		t.Errorf("%d mappings, want 1", n)
	}
	m.Close()
	if n := mappings(t, f.Name()); n != 0 {
		t.Errorf("%d mappings after Close", n)
	}
}

// Closed, replaced or removed, a file stays as it was mapped.
func TestReplacedFileStays(t *testing.T) {
	f := create(t, []byte("old"))
	m, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f.Close()
	if err := os.WriteFile(f.Name()+".new", []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.Name()+".new", f.Name()); err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != "old" {
		t.Errorf("mapped %q", m.Data)
	}
}

func TestDirectoryIsAnError(t *testing.T) {
	d, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if m, err := New(d); err == nil {
		t.Errorf("a directory of %d bytes", len(m.Data))
	}
}
