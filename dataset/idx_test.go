package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const synthDir = "../testdata/synth"

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(synthDir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ramp returns n bytes 0, 1, 2, ...
func ramp(n int) []uint8 {
	b := make([]uint8, n)
	for i := range b {
		b[i] = uint8(i)
	}
	return b
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestIDXRoundTrip(t *testing.T) {
	size := Shape{1, 3, 5}
	for _, n := range []int{0, 1, 7, 100_000} { // the last is more than the first buffer
		pix := ramp(n * size.Len())
		var buf bytes.Buffer
		if err := WriteIDX(&buf, pix, size); err != nil {
			t.Fatal(err)
		}
		for form, data := range map[string][]byte{"plain": buf.Bytes(), "gzip": gzipped(t, buf.Bytes())} {
			got, gotSize, err := ReadIDX(bytes.NewReader(data), "a")
			if err != nil || gotSize != size || !bytes.Equal(got, pix) {
				t.Errorf("%s, %d images: read %d bytes of %v, %v", form, n, len(got), gotSize, err)
			}
		}
	}
}

func TestIDXLabelsRoundTrip(t *testing.T) {
	want := []int{0, 9, 255, 1}
	var buf bytes.Buffer
	if err := WriteIDXLabels(&buf, want); err != nil {
		t.Fatal(err)
	}
	if want := "\x00\x00\x08\x01\x00\x00\x00\x04\x00\x09\xff\x01"; buf.String() != want {
		t.Errorf("wrote %q, want %q", buf.String(), want)
	}
	got, err := ReadIDXLabels(bytes.NewReader(gzipped(t, buf.Bytes())), "a")
	if err != nil || len(got) != 4 || got[0] != 0 || got[1] != 9 || got[2] != 255 || got[3] != 1 {
		t.Errorf("read %v, %v, want %v", got, err, want)
	}
	for _, bad := range []int{-1, 256} {
		if err := WriteIDXLabels(&buf, []int{bad}); err == nil {
			t.Errorf("label %d was written", bad)
		}
	}
}

func TestWriteIDXRefuses(t *testing.T) {
	for _, c := range []struct {
		n    int
		size Shape
	}{{12, Shape{3, 2, 2}}, {5, Shape{1, 2, 2}}, {0, Shape{1, 0, 2}}} {
		if err := WriteIDX(new(bytes.Buffer), make([]uint8, c.n), c.size); err == nil {
			t.Errorf("%d bytes of %v were written", c.n, c.size)
		}
	}
}

// Each error names the file, what was found and what was wanted.
func TestIDXDamaged(t *testing.T) {
	for _, c := range []struct {
		file string
		says []string
	}{
		{"idx-cut-short", []string{"have 19 bytes", "want 24", "2 images of 3x4"}},
		{"idx-no-header", []string{"7 of 16 bytes"}},
		{"idx-trailing", []string{"have 27 bytes", "want 24"}},
		{"idx-floats", []string{"0x00000d03", "0x00000803"}},
		{"idx-no-rows", []string{"0 rows"}},
		{"idx-claims-gigabytes", []string{"have 8 bytes", "want 7516192768"}},
		{"idx-cut-short.gz", []string{"have ", "want 24"}},
		{"idx-checksum.gz", []string{"checksum"}},
	} {
		_, _, err := ReadIDX(bytes.NewReader(fixture(t, "damaged/"+c.file)), c.file)
		var format *FormatError
		if !errors.As(err, &format) || format.Path != c.file {
			t.Errorf("%s: error %v, want a FormatError", c.file, err)
			continue
		}
		for _, s := range append(c.says, c.file) {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: error %q does not say %q", c.file, err, s)
			}
		}
	}
	_, _, err := ReadIDX(bytes.NewReader(fixture(t, "damaged/idx-claims-terabytes")), "x")
	var large *TooLargeError
	if !errors.As(err, &large) {
		t.Errorf("claims terabytes: error %v, want a TooLargeError", err)
	}
}

// Every way to cut a file, or to add to it, is an error, plain and compressed.
func TestIDXEveryCut(t *testing.T) {
	var buf bytes.Buffer
	if err := WriteIDX(&buf, ramp(24), Shape{1, 3, 4}); err != nil {
		t.Fatal(err)
	}
	for form, data := range map[string][]byte{"plain": buf.Bytes(), "gzip": gzipped(t, buf.Bytes())} {
		for n := range len(data) {
			if _, _, err := ReadIDX(bytes.NewReader(data[:n]), "x"); err == nil {
				t.Errorf("%s, cut after %d of %d bytes: no error", form, n, len(data))
			}
		}
		if _, _, err := ReadIDX(bytes.NewReader(append(data[:len(data):len(data)], 7)), "x"); err == nil {
			t.Errorf("%s: no error for a byte too many", form)
		}
	}
	labels := "\x00\x00\x08\x01\x00\x00\x00\x02\x01\x02"
	for n := range len(labels) {
		if _, err := ReadIDXLabels(strings.NewReader(labels[:n]), "x"); err == nil {
			t.Errorf("labels cut after %d bytes: no error", n)
		}
	}
}

// A false claim must cost no more memory than a few buffers.
func TestIDXFalseClaimIsCheap(t *testing.T) {
	const most = 8 << 20
	data := fixture(t, "damaged/idx-claims-gigabytes")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := ReadIDX(bytes.NewReader(data), "x"); err == nil {
		t.Fatal("no error")
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > most {
		t.Errorf("%d bytes were allocated for a file of %d, want at most %d", used, len(data), most)
	}
}

// A failing disk is not the file's fault.
func TestIDXReadFailure(t *testing.T) {
	broken := errors.New("disk on fire")
	_, _, err := ReadIDX(&failingReader{fixture(t, "damaged/idx-trailing")[:20], broken}, "x")
	var format *FormatError
	if !errors.Is(err, broken) || errors.As(err, &format) {
		t.Errorf("error %v, want the reader's and no FormatError", err)
	}
}

type failingReader struct {
	data []byte
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

func FuzzReadIDX(f *testing.F) {
	entries, err := os.ReadDir(filepath.Join(synthDir, "damaged"))
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "idx") {
			f.Add(fixture(f, "damaged/"+e.Name()))
		}
	}
	f.Add(fixture(f, "idx/t10k-labels-idx1-ubyte.gz"))
	f.Add([]byte("\x00\x00\x08\x03\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x01ab"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if pix, size, err := ReadIDX(bytes.NewReader(data), "fuzz"); err == nil {
			if size.Len() < 1 || len(pix)%size.Len() != 0 {
				t.Fatalf("%d bytes of shape %v", len(pix), size)
			}
			var buf bytes.Buffer
			if err := WriteIDX(&buf, pix, size); err != nil {
				t.Fatal(err)
			}
			if len(data) > 0 && data[0] == 0 && len(pix) > 0 && !bytes.Equal(buf.Bytes(), data) {
				t.Fatal("writing what was read gives another file")
			}
		}
		if labels, err := ReadIDXLabels(bytes.NewReader(data), "fuzz"); err == nil && data[0] == 0 {
			if n := int(binary.BigEndian.Uint32(data[4:])); n != len(labels) {
				t.Fatalf("%d labels, header says %d", len(labels), n)
			}
		}
	})
}

func BenchmarkReadIDX(b *testing.B) {
	var buf bytes.Buffer
	size := Shape{1, 28, 28}
	if err := WriteIDX(&buf, ramp(10_000*size.Len()), size); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if _, _, err := ReadIDX(bytes.NewReader(buf.Bytes()), "x"); err != nil {
			b.Fatal(err)
		}
	}
}
