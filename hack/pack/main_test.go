//go:build cgo && !race

package main

// This needs the whole command line, which takes C and long to compile with the race
// detector.

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestShare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "share")
	if err := run([]string{"share", "v1.2.3", "1", dir}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"bash-completion/completions/nlnctl":                          "complete ",
		"zsh/site-functions/_nlnctl":                                  "#compdef nlnctl\n",
		"fish/vendor_completions.d/nlnctl.fish":                       "complete -c nlnctl",
		"man/man1/nlnctl.1":                                           `"1970\-01\-01" "nlnctl v1.2.3"`,
		"man/man1/nlnctl-batch-run.1":                                 "--input",
		"doc/nlnctl/licences/go/LICENSE":                              "The Go Authors",
		"doc/nlnctl/licences/github.com/urfave/cli/v2@*/LICENSE":      "MIT License",
		"doc/nlnctl/licences/github.com/klauspost/compress@*/LICENSE": "Klaus Post",
		// code that the module has from others
		"doc/nlnctl/licences/github.com/klauspost/compress@*/zstd/internal/xxhash/LICENSE.txt": "Caleb Spare",
	} {
		match, err := filepath.Glob(filepath.Join(dir, name))
		if err != nil || len(match) != 1 {
			t.Errorf("%s: %q, %v", name, match, err)
			continue
		}
		text, err := os.ReadFile(match[0])
		if err != nil || !strings.Contains(strings.ReplaceAll(string(text), `\-\-`, "--"), want) {
			t.Errorf("%s does not say %q: %v", name, want, err)
		}
	}
	// Tests alone import it.
	if match, _ := filepath.Glob(filepath.Join(dir, "doc/nlnctl/licences/github.com/compose-spec/*")); match != nil {
		t.Errorf("%q is not linked", match)
	}
}

// TestArchive makes one folder twice, written in another order, at another time and with
// other modes.
func TestArchive(t *testing.T) {
	at := time.Unix(1700000000, 0)
	names := []string{"bin/a", "lib/b", "c", "share/man/d e"}
	var made [][]byte
	for i := range 2 {
		dir := filepath.Join(t.TempDir(), "x-1")
		for _, name := range names {
			if err := write(filepath.Join(dir, name), []byte("this is "+name)); err != nil {
				t.Fatal(err)
			}
			mode := []fs.FileMode{0o600, 0o664}[i]
			if name == "bin/a" {
				mode |= 0o100
			}
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		slices.Reverse(names)
		file := filepath.Join(t.TempDir(), "x.tar.gz")
		if err := archive(at, dir, file); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, b)
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two archives of the same files differ")
	}
	z, err := gzip.NewReader(bytes.NewReader(made[0]))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(at) || h.Uid != 0 || h.Uname != "" || h.Mode != 0o755 && h.Mode != 0o644 {
			t.Errorf("%s is of %v, owner %d %q, mode %o", h.Name, h.ModTime, h.Uid, h.Uname, h.Mode)
		}
		got = append(got, h.Name)
	}
	want := []string{"x-1/", "x-1/bin/", "x-1/bin/a", "x-1/c", "x-1/lib/", "x-1/lib/b", "x-1/share/", "x-1/share/man/", "x-1/share/man/d e"}
	if !slices.Equal(got, want) {
		t.Errorf("the archive holds %q, want %q", got, want)
	}
}

func TestArchiveRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.tar.gz")
	if err := archive(time.Unix(0, 0), dir, file); err == nil {
		t.Error("a link is taken")
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half an archive is left: %v", err)
	}
}
