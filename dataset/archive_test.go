package dataset

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// An entry is a member of a tar to be written: an image filled with a value, or
// what data holds, or a link.
type entry struct {
	name string
	fill uint8
	data []byte
	link string
}

// archiveOf returns a tar of entries.
func archiveOf(t testing.TB, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Typeflag: tar.TypeReg}
		switch {
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.data == nil:
			img := greyRamp(3, 2)
			for i := range img.Pix {
				img.Pix[i] = e.fill
			}
			e.data = encodePNG(t, img)
		}
		h.Size = int64(len(e.data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compressed compresses as the ending of a name says.
func compressed(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch filepath.Ext(name) {
	case ".gz", ".tgz":
		w = gzip.NewWriter(&b)
	case ".zst":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeTar(t testing.TB, name string, entries []entry) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	writeFile(t, file, compressed(t, name, archiveOf(t, entries)))
	return file
}

var tarKinds = []string{"x.tar", "x.tar.gz", "x.tgz", "x.tar.zst"}

// streamed returns what a stream yields: a line for each file with its first pixel
// or what is wrong with it, and the stream's error.
func streamed(t testing.TB, r Reading, spec string) (lines []string, err error) {
	t.Helper()
	s, err := r.Stream(t.Context(), spec)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ir := ImageReader{Reading: r}
	pix := make([]uint8, 6)
	for f, err := range s.Files(t.Context()) {
		if err != nil {
			return lines, err
		}
		data, err := f.Bytes()
		if err == nil {
			err = ir.ReadBytes(pix, data, f.Name, Shape{1, 2, 3})
		}
		name := f.Name[strings.LastIndex(f.Name, "!")+1:]
		if err != nil {
			lines = append(lines, fmt.Sprintf("%s: %T", name, err))
		} else {
			lines = append(lines, fmt.Sprint(name, " ", pix[0]))
		}
		f.Done()
	}
	return lines, nil
}

// A tar is the set that the folder of the same files is, in whatever order they lie.
func TestTarIsTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	entries := []entry{{name: "./"}, {name: "./dogs/b.png", fill: 3}, {name: "readme.txt", data: []byte("x")}, {name: "cats/deep/z.PNG", fill: 2},
		{name: "/cats/a.png", fill: 1}, {name: ".git/x.png", fill: 9}, {name: "cats/._a.png", fill: 9}, {name: "cats/a.jpg", link: "a.png"}}
	for _, e := range entries {
		if name := memberName(e.name); e.fill > 0 {
			writeGrey(t, filepath.Join(dir, filepath.FromSlash(name)), e.fill)
		} else if e.data != nil {
			writeFile(t, filepath.Join(dir, name), e.data)
		}
	}
	want := mustOpen(t, "folder:"+dir).Train
	for _, kind := range tarKinds {
		file := writeTar(t, kind, entries)
		for _, spec := range []string{"tar:" + file, file} {
			sp := mustOpen(t, spec)
			have := sp.Train
			if !sp.Single() || sp.Kind != "tar" || !slices.Equal(have.Names, want.Names) || !slices.Equal(have.Labels, want.Labels) ||
				!slices.Equal(have.Classes, want.Classes) || !bytes.Equal(have.Pix, want.Pix) || have.Size != want.Size || have.Scale != want.Scale {
				t.Errorf("%s: %+v, want %+v", kind, have, want)
			}
			if notes := strings.Join(sp.Notes(), "\n"); len(sp.Notes()) != 2 || !strings.Contains(notes, "readme.txt") || !strings.Contains(notes, "1 links") {
				t.Errorf("%s: notes %q", kind, notes)
			}
		}
	}
}

func TestTarLayouts(t *testing.T) {
	for name, c := range map[string]struct {
		members []string
		classes []string
		names   []string // of Train
	}{
		"no classes":         {[]string{"a.png", "b/c.png"}, nil, []string{"a.png", "b/c.png"}},
		"one class":          {[]string{"good/a.png"}, []string{"good"}, []string{"good/a.png"}},
		"one folder of more": {[]string{"parts/good/a.png", "parts/bad/b.png"}, []string{"bad", "good"}, []string{"bad/b.png", "good/a.png"}},
		"two folders":        {[]string{"x/good/a.png", "y/bad/b.png"}, []string{"x", "y"}, []string{"x/good/a.png", "y/bad/b.png"}},
		"splits":             {[]string{"p/train/ok/1.png", "p/test/bad/2.png"}, []string{"bad", "ok"}, []string{"ok/1.png"}},
	} {
		var entries []entry
		for i, m := range c.members {
			entries = append(entries, entry{name: m, fill: uint8(i)})
		}
		sp, err := Open("tar:" + writeTar(t, "x.tar", entries))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(sp.Train.Classes, c.classes) || !slices.Equal(sp.Train.Names, c.names) || sp.Single() == (name == "splits") {
			t.Errorf("%s: classes %q, names %q", name, sp.Train.Classes, sp.Train.Names)
		}
	}
}

func TestTarErrors(t *testing.T) {
	twice := []entry{{name: "a.png"}, {name: "./a.png"}}
	damaged := []entry{{name: "b.png"}, {name: "a.png", data: encodePNG(t, greyRamp(3, 2))[:40]}}
	sizes := []entry{{name: "a.png"}, {name: "b.png", data: encodePNG(t, greyRamp(4, 2))}}
	text := filepath.Join(t.TempDir(), "x.tar")
	writeFile(t, text, bytes.Repeat([]byte("no tar "), 200))
	empty := filepath.Join(t.TempDir(), "x.tar")
	writeFile(t, empty, nil)
	xz := filepath.Join(t.TempDir(), "x.tar.xz")
	writeFile(t, xz, []byte("\xfd7zXZ\x00 and more"))
	for spec, says := range map[string]string{
		"tar:" + writeTar(t, "x.tar", twice):                                       "!a.png: tar: the archive holds this image twice",
		"tar:" + writeTar(t, "x.tar", damaged):                                     "!a.png: image: the file ends too early",
		"tar:" + writeTar(t, "x.tar", sizes):                                       "!b.png: image is 2x4x1, want 2x3x1",
		"tar:" + writeTar(t, "x.tar", []entry{{name: "a.txt", data: []byte("x")}}): "holds no image files",
		"tar:" + text:        "read tar: archive/tar: invalid tar header",
		"tar:" + empty:       "the file is empty",
		"tar:" + xz:          "compressed by gzip or zstd",
		"tar:/no/such.tar":   "no such file",
		"tar:" + t.TempDir(): "no regular file",
	} {
		if _, err := Open(spec); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one with %q", spec, err, says)
		}
	}
	if _, err := Open("tar:/no/such.tar"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Reading{}).OpenContext(ctx, "tar:"+writeTar(t, "x.tar", sizes)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The first damaged member in order is named, whichever goroutine met it.
func TestTarNamesTheFirst(t *testing.T) {
	var entries []entry
	for i := range 40 {
		e := entry{name: fmt.Sprintf("%02d.png", i), fill: 1}
		if i >= 3 {
			e.data = encodePNG(t, greyRamp(3, 2))[:40]
		}
		entries = append(entries, e)
	}
	file := writeTar(t, "x.tar", entries)
	for range 50 {
		if _, err := Open(file); err == nil || !strings.Contains(err.Error(), "!03.png: ") {
			t.Fatalf("error %v, want one for 03.png", err)
		}
	}
}

// A member that cannot be read is one of the lines, and the others go on.
func TestStreamTar(t *testing.T) {
	entries := []entry{{name: "b.png", fill: 2}, {name: "damaged.png", data: encodePNG(t, greyRamp(3, 2))[:40]}, {name: "gif.png", data: []byte("GIF89a")},
		{name: "empty.png", data: []byte{}}, {name: "wide.png", data: encodePNG(t, greyRamp(4, 2))}, {name: "notes.txt", data: []byte("x")},
		{name: "link.png", link: "b.png"}, {name: "large.png", data: make([]byte, 500)}, {name: "dir/a.png", fill: 1}, {name: ".x.png"}}
	want := []string{"b.png 2", "damaged.png: *dataset.FormatError", "gif.png: *dataset.UnsupportedError", "empty.png: *dataset.FormatError",
		"wide.png: *dataset.SizeError", "link.png: *dataset.UnsupportedError", "large.png: *dataset.TooLargeError", "dir/a.png 1"}
	for _, kind := range tarKinds {
		file := writeTar(t, kind, entries)
		if lines, err := streamed(t, Reading{Limits: Limits{Bytes: 499}}, "tar:"+file); err != nil || !slices.Equal(lines, want) {
			t.Errorf("%s: %q, %v, want %q", kind, lines, err, want)
		}
		r := Reading{Include: []string{"dir/*", "b*"}, Exclude: []string{"b.*"}}
		if lines, err := streamed(t, r, file); err != nil || !slices.Equal(lines, []string{"dir/a.png 1"}) {
			t.Errorf("%s: %q, %v with globs", kind, lines, err)
		}
	}
	if _, err := (Reading{}).Stream(t.Context(), "folder:"+t.TempDir()); err == nil || !strings.Contains(err.Error(), "cannot be streamed") {
		t.Errorf("a folder is streamed: %v", err)
	}
}

// Wherever an archive is cut off, what is sound comes first, then an error that says
// so: between two members as well, where a tar looks as if it had ended.
func TestTarCutShort(t *testing.T) {
	entries := []entry{{name: "a.png", fill: 1}, {name: "b.png", fill: 2}, {name: "c.png", fill: 3}}
	all := []string{"a.png 1", "b.png 2", "c.png 3"}
	for _, kind := range tarKinds {
		whole := compressed(t, kind, archiveOf(t, entries))
		file := filepath.Join(t.TempDir(), kind)
		step := 1
		if kind == "x.tar" {
			step = 64
		}
		for n := step; n < len(whole); n += step {
			if err := os.WriteFile(file, whole[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			lines, err := streamed(t, Reading{}, "tar:"+file)
			if kind == "x.tar" && n >= len(whole)-tarBlock {
				continue // one block of zeros is a mark as well
			}
			var format *FormatError
			if !errors.As(err, &format) || len(lines) > 3 || !slices.Equal(lines, all[:len(lines)]) {
				t.Fatalf("%s cut off after %d of %d bytes: %q, %v", kind, n, len(whole), lines, err)
			}
			// Each member takes 1024 bytes, of which the image ends before the 700th.
			if in := n % 1024; kind == "x.tar" && n < 3*1024 && (in < 512 && len(lines) != n/1024 || in >= 700 && len(lines) != n/1024+1) {
				t.Errorf("%s cut off after %d bytes: %d images", kind, n, len(lines))
			}
			if _, err := Open("tar:" + file); err == nil {
				t.Errorf("%s cut off after %d of %d bytes is a set", kind, n, len(whole))
			}
		}
	}
}

// A flipped bit in what is compressed is met by its checksum, in the middle of the
// pixels as well. One that changes nothing, such as from which zeros others are
// copied, is none.
func TestTarAltered(t *testing.T) {
	plain := archiveOf(t, []entry{{name: "a.png", fill: 1}, {name: "b.png", fill: 2}})
	for _, kind := range []string{"x.tar.gz", "x.tar.zst"} {
		whole := compressed(t, kind, plain)
		met := 0
		file := filepath.Join(t.TempDir(), kind)
		for n := 12; n < len(whole); n++ {
			altered := slices.Clone(whole)
			altered[n] ^= 0x10
			if err := os.WriteFile(file, altered, 0o644); err != nil {
				t.Fatal(err)
			}
			lines, err := streamed(t, Reading{}, "tar:"+file)
			if err != nil {
				met++
				continue
			}
			a, err := openArchive(file, Reading{})
			if err != nil {
				t.Fatal(err)
			}
			if same, err := io.ReadAll(&a.plain); err != nil || !bytes.Equal(same, plain) {
				t.Errorf("%s with byte %d altered: %q and no error", kind, n, lines)
			}
			a.close()
		}
		if met < len(whole)*3/4 {
			t.Errorf("%s: %d of %d altered bytes were met", kind, met, len(whole))
		}
	}
}

// Whatever a tar holds, going through it ends, and a second time is as the first.
func FuzzTar(f *testing.F) {
	entries := []entry{{name: "a/b.png", fill: 1}, {name: "c.png", fill: 2}, {name: "x.txt", data: []byte("x")}}
	for _, kind := range tarKinds {
		f.Add(compressed(f, kind, archiveOf(f, entries)))
	}
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	file := filepath.Join(f.TempDir(), "x.tar")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		r := Reading{Limits: Limits{Bytes: 1 << 20}}
		lines, err := streamed(t, r, "tar:"+file)
		again, err2 := streamed(t, r, "tar:"+file)
		if !slices.Equal(lines, again) || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Errorf("%q, %v and then %q, %v", lines, err, again, err2)
		}
	})
}
