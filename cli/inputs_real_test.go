package cli

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
)

// The first test images of CIFAR-10 get the same scores, to the bit, from the binary
// version, from a folder of PNG files and from a tar of them: the bundle says how
// pixels are scaled, whatever the set is scaled by where it comes from.
func TestRealScoresAreEqual(t *testing.T) {
	dir := filepath.Join(os.Getenv("NLN_DATA"), "cifar-10")
	if _, err := os.Stat(dir); os.Getenv("NLN_DATA") == "" || err != nil {
		t.Skip("NLN_DATA has no cifar-10")
	}
	t.Chdir(t.TempDir())
	const images = 200
	sp, err := dataset.Open("cifar-10:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	var binary bytes.Buffer
	archive, err := os.Create("test.tar")
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(archive)
	if err := os.Mkdir("test", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range images {
		pix := sp.Test.Image(i)
		binary.WriteByte(byte(sp.Test.Labels[i]))
		binary.Write(pix)
		name := fmt.Sprintf("%03d.png", i)
		data := pngOf(t, pix, sp.Test.Size)
		if err := os.WriteFile(filepath.Join("test", name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	archive.Close()
	if err := os.Mkdir("binary", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("binary/test_batch.bin", binary.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	stderr := &watched{}
	if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: stderr},
		[]string{"train", "--data", "cifar-10:" + dir, "--protocol", "simo", "--class", "cat", "--steps", "3", "--batch", "64", "-o", "cat.nln"}); code != exitOK {
		t.Fatalf("train: status %d\n%s", code, stderr)
	}
	want := rowsOf(t, "cifar-10:binary")
	if len(want) != images {
		t.Fatalf("%d rows, want %d", len(want), images)
	}
	for _, spec := range []string{"folder:test", "tar:test.tar"} {
		have := rowsOf(t, spec)
		for i := range want {
			if i >= len(have) || have[i] != want[i] {
				t.Fatalf("%s: row %d of %d differs:\n%s\n%s", spec, i, len(have), have[min(i, len(have)-1)], want[i])
			}
		}
	}
}

// pngOf encodes planar pixels.
func pngOf(t *testing.T, pix []uint8, size dataset.Shape) []byte {
	t.Helper()
	n := size.H * size.W
	img := image.NewNRGBA(image.Rect(0, 0, size.W, size.H))
	for i := range n {
		img.SetNRGBA(i%size.W, i/size.W, color.NRGBA{pix[i], pix[n+i], pix[2*n+i], 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rowsOf scores and returns the rows without the images' names.
func rowsOf(t *testing.T, spec string) (rows []string) {
	t.Helper()
	var out bytes.Buffer
	stderr := &watched{}
	if code := Run(t.Context(), Env{Stdout: &out, Stderr: stderr}, []string{"score", "-m", "cat.nln", spec}); code != exitOK {
		t.Fatalf("%s: status %d\n%s", spec, code, stderr)
	}
	for line := range strings.Lines(out.String()) {
		var row struct{ Image string }
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.Image == "" {
			t.Fatalf("%s: %v", line, err)
		}
		rows = append(rows, strings.Replace(line, row.Image, "", 1))
	}
	return rows
}
