package dataset

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cifarRecords returns records of the given labels; all pixels of a record have
// the value first, first+1, ...
func cifarRecords(first int, labels ...int) []byte {
	var out []byte
	for i, label := range labels {
		out = append(out, byte(label))
		out = append(out, bytes.Repeat([]byte{byte(first + i)}, cifarRecord-1)...)
	}
	return out
}

type tarFile struct {
	name string
	data []byte
}

func tarOf(t testing.TB, files ...tarFile) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestReadCIFAR(t *testing.T) {
	data := cifarRecords(40, 3, 9, 0)
	data[1], data[1+1024], data[1+2048] = 1, 2, 3 // planes R, G, B of the first image
	pix, labels, err := ReadCIFAR(bytes.NewReader(data), "x")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(labels, []int{3, 9, 0}) || len(pix) != 3*3072 {
		t.Errorf("labels %v, %d bytes", labels, len(pix))
	}
	if pix[0] != 1 || pix[1024] != 2 || pix[2048] != 3 || pix[3072] != 41 || pix[9215] != 42 {
		t.Error("pixels are in another order")
	}
}

func TestReadCIFARDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"label 10":  {fixture(t, "damaged/cifar-label.bin"), "label 10"},
		"cut short": {fixture(t, "damaged/cifar-cut-short.bin"), "3000 of 3073"},
		"empty":     {nil, "empty"},
		"one over":  {append(cifarRecords(0, 1), 5), "record 1 has 1 of 3073"},
	} {
		_, _, err := ReadCIFAR(bytes.NewReader(c.data), "f.bin")
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "f.bin") {
			t.Errorf("%s: error %v, want a FormatError with %q", name, err, c.says)
		}
	}
}

// A batch of zeros without end, as a sparse archive could hold, ends in an error.
func TestReadCIFARIsBounded(t *testing.T) {
	_, _, err := readCIFAR(zeros{}, "x", 10)
	var large *TooLargeError
	if !errors.As(err, &large) {
		t.Errorf("error %v, want a TooLargeError", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// All the places where the batches may lie give the same set.
func TestOpenCIFARPlaces(t *testing.T) {
	b2, b1, test := cifarRecords(20, 2, 3), cifarRecords(10, 1), cifarRecords(90, 9)
	in := func(dir string) []tarFile { // batch 2 comes first: order is by number
		return []tarFile{{dir + "readme.html", []byte("hi")}, {dir + "data_batch_2.bin", b2}, {dir + "test_batch.bin", test}, {dir + "data_batch_1.bin", b1}}
	}
	places := map[string]func(root string) string{
		"folder": func(root string) string {
			for _, f := range in("") {
				writeFile(t, filepath.Join(root, f.name), f.data)
			}
			return root
		},
		"sub-folder": func(root string) string {
			for _, f := range in(cifarDir + "/") {
				writeFile(t, filepath.Join(root, f.name), f.data)
			}
			return root
		},
		"folder of the archive": func(root string) string {
			writeFile(t, filepath.Join(root, cifarArchive), gzipped(t, tarOf(t, in(cifarDir+"/")...)))
			return root
		},
		"archive": func(root string) string {
			file := filepath.Join(root, "any-name")
			writeFile(t, file, gzipped(t, tarOf(t, in("./"+cifarDir+"/")...)))
			return file
		},
		"plain tar": func(root string) string {
			file := filepath.Join(root, "c.tar")
			writeFile(t, file, tarOf(t, in("")...))
			return file
		},
	}
	for name, place := range places {
		location := place(t.TempDir())
		for _, spec := range []string{"cifar-10:" + location, location} {
			sp, err := Open(spec)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if sp.Kind != "cifar-10" || !slices.Equal(sp.Train.Labels, []int{1, 2, 3}) || !slices.Equal(sp.Test.Labels, []int{9}) {
				t.Errorf("%s: kind %s, labels %v and %v", name, sp.Kind, sp.Train.Labels, sp.Test.Labels)
			}
			if sp.Train.Image(0)[0] != 10 || sp.Train.Image(2)[0] != 21 || sp.Test.Image(0)[0] != 90 {
				t.Errorf("%s: the pixels do not go with the labels", name)
			}
			notes := strings.Join(sp.Notes(), "\n")
			if !strings.Contains(notes, "data_batch_3.bin, data_batch_4.bin, data_batch_5.bin;") {
				t.Errorf("%s: notes %q do not name the missing batches", name, notes)
			}
			if sp.Train.Classes[6] != "frog" || sp.Train.Scale != "" {
				t.Errorf("%s: class 6 is %s, scale %q", name, sp.Train.Classes[6], sp.Train.Scale)
			}
		}
	}
}

func TestOpenCIFARParts(t *testing.T) {
	write := func(names ...string) string {
		dir := t.TempDir()
		for _, n := range names {
			writeFile(t, filepath.Join(dir, n), cifarRecords(0, 1))
		}
		return dir
	}
	sp, err := Open(write("test_batch.bin"))
	if err != nil || sp.Train != nil || sp.Test == nil || len(sp.Notes()) != 1 {
		t.Errorf("test batch alone: %+v, %v", sp, err)
	}
	sp, err = Open(write("data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"))
	if err != nil || sp.Test != nil || sp.Train.Len() != 5 || len(sp.Notes()) != 1 || !strings.Contains(sp.Notes()[0], "test_batch") {
		t.Errorf("training batches alone: %+v, %v", sp, err)
	}
	if _, err := Open("cifar-10:" + write("data_batch_6.bin")); err == nil || !strings.Contains(err.Error(), "test_batch.bin") {
		t.Errorf("no batch: error %v", err)
	}
}

func TestCIFARTarDamaged(t *testing.T) {
	twice := tarFile{"data_batch_1.bin", cifarRecords(0, 1)}
	sound := gzipped(t, tarOf(t, twice))
	for name, data := range map[string][]byte{
		"cut short":   fixture(t, "damaged/cifar-cut-short.tgz"),
		"batch twice": tarOf(t, twice, twice),
		"no tar":      bytes.Repeat([]byte("text "), 300),
		"no trailer":  sound[:len(sound)-4],
		"text after":  append(slices.Clone(sound), "text"...),
	} {
		_, err := readCIFARTar(bytes.NewReader(data), "a.tgz")
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), "a.tgz") {
			t.Errorf("%s: error %v, want a FormatError", name, err)
		}
	}
}

func TestCIFARFixture(t *testing.T) {
	sp, err := Open("cifar-10:" + filepath.Join(synthDir, "cifar-10"))
	if err != nil {
		t.Fatal(err)
	}
	if sp.Train.Len() != 6 || sp.Test.Len() != 4 || sp.Train.Size != (Shape{3, 32, 32}) {
		t.Errorf("%d and %d images of %v", sp.Train.Len(), sp.Test.Len(), sp.Train.Size)
	}
}

func FuzzReadCIFAR(f *testing.F) {
	f.Add(fixture(f, "damaged/cifar-label.bin"))
	f.Add(cifarRecords(0, 1, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		pix, labels, err := ReadCIFAR(bytes.NewReader(data), "fuzz")
		if err == nil && (len(data) != len(labels)*cifarRecord || len(pix) != len(labels)*cifarShape.Len()) {
			t.Fatalf("%d bytes gave %d labels and %d pixels", len(data), len(labels), len(pix))
		}
	})
}

func FuzzCIFARTar(f *testing.F) {
	f.Add(fixture(f, "damaged/cifar-cut-short.tgz"))
	f.Add(tarOf(f, tarFile{"test_batch.bin", cifarRecords(0, 1)}))
	f.Add(fixture(f, "cifar-10/cifar-10-binary.tar.gz"))
	f.Fuzz(func(t *testing.T, data []byte) {
		parts, err := readCIFARTar(bytes.NewReader(data), "fuzz")
		if err != nil {
			return
		}
		if sp, err := parts.splits("fuzz"); err == nil {
			for _, s := range []*Set{sp.Train, sp.Test} {
				if s != nil && s.Check() != nil {
					t.Fatal(s.Check())
				}
			}
		}
	})
}
