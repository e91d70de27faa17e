package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// numberedStream is numbered for a stream that ends with an error, or nil.
func numberedStream(n int, end error, fails func(i int) bool, rows *[]string) *pipeline {
	p := numbered(n, fails, rows)
	var read func() func(i int, dst []uint8) error
	for images := range p.sources {
		read = images.reader
	}
	files := func(ctx context.Context) iter.Seq2[*dataset.File, error] {
		return func(yield func(*dataset.File, error) bool) {
			for i := range n {
				if !yield(&dataset.File{Name: fmt.Sprint("image ", i)}, nil) {
					return
				}
			}
			if end != nil {
				yield(nil, end)
			}
		}
	}
	reader := func() func(f *dataset.File, dst []uint8) error {
		read := read()
		return func(f *dataset.File, dst []uint8) error {
			i, err := strconv.Atoi(strings.TrimPrefix(f.Name, "image "))
			if err != nil {
				return err
			}
			return read(i, dst)
		}
	}
	p.sources = only(imageSource{stream: &imageStream{files: files, reader: reader}})
	return p
}

// Rows of a stream are those of a plain loop, and all that came before the stream's
// error are written.
func TestStreamKeepsOrder(t *testing.T) {
	noLeak(t)
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, n := range []int{0, 1, 9, 10, 11, 39, 40, 41, 500} {
		for _, end := range []error{nil, errTest} {
			bad := make([]bool, n)
			var want, have []string
			for i := range n {
				if bad[i] = rng.Float64() < .2; bad[i] {
					want = append(want, fmt.Sprintf("image %d: %d is bad", i, i))
				} else {
					want = append(want, fmt.Sprintf("image %d: %d", i, i))
				}
			}
			p := numberedStream(n, end, func(i int) bool {
				runtime.Gosched()
				return bad[i]
			}, &have)
			p.readers = 1 + rng.IntN(20)
			if err := p.run(t.Context()); err != end {
				t.Fatalf("seed %d, %d images: error %v, want %v", seed, n, err, end)
			}
			if !slices.Equal(have, want) {
				t.Fatalf("seed %d, %d images: rows %q, want %q", seed, n, have, want)
			}
		}
	}
}

func TestStreamIsBounded(t *testing.T) {
	noLeak(t)
	var rows []string
	var read, written, most atomic.Int64
	p := numberedStream(3000, nil, func(int) bool {
		ahead := read.Add(1) - written.Load()
		for m := most.Load(); ahead > m && !most.CompareAndSwap(m, ahead); m = most.Load() {
		}
		return false
	}, &rows)
	write := p.write
	p.write = func(name string, s *nln.Score, failed error) error {
		defer written.Add(1)
		return write(name, s, failed)
	}
	if err := p.run(t.Context()); err != nil || len(rows) != 3000 {
		t.Fatal(err, len(rows))
	}
	if m := most.Load(); m > inFlight*int64(p.size) {
		t.Errorf("%d images ahead of the rows, want at most %d", m, inFlight*p.size)
	}
}

func TestStreamStops(t *testing.T) {
	noLeak(t)
	var rows []string
	p := numberedStream(1000, nil, none, &rows)
	write := p.write
	p.write = func(name string, s *nln.Score, failed error) error {
		if name == "image 25" {
			return errTest
		}
		return write(name, s, failed)
	}
	if err := p.run(t.Context()); !errors.Is(err, errTest) || len(rows) != 25 {
		t.Errorf("error %v after %d rows", err, len(rows))
	}
	for _, at := range []int{0, 1, 9, 10, 57, 999} {
		ctx, cancel := context.WithCancel(t.Context())
		var rows []string
		p := numberedStream(1000, nil, func(i int) bool {
			if i == at {
				cancel()
			}
			return false
		}, &rows)
		if err := p.run(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stopped after") {
			t.Errorf("cancelled at %d: error %v", at, err)
		}
		for i, row := range rows {
			if row != fmt.Sprintf("image %d: %d", i, i) {
				t.Errorf("cancelled at %d: row %d is %q", at, i, row)
			}
		}
		cancel()
	}
}

// tarImages writes a tar of n images of 28x28 pixels, each with padding bytes behind
// it, which a decoder does not look at.
func tarImages(t testing.TB, file string, n, padding int) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	img := image.NewGray(image.Rect(0, 0, 28, 28))
	pad := make([]byte, padding)
	for i := range n {
		clear(img.Pix)
		img.Pix[i%len(img.Pix)] = 255
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		h := &tar.Header{Name: fmt.Sprintf("%05d.png", i), Mode: 0o644, Size: int64(b.Len() + padding)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(append(b.Bytes(), pad...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Memory does not grow with the archive, here of 320 MB.
func TestStreamedTarTakesLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 320 MB")
	}
	const images, padding = 320, 1 << 20
	file := filepath.Join(t.TempDir(), "x.tar")
	tarImages(t, file, images, padding)
	s, err := dataset.Reading{}.Stream(t.Context(), "tar:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rows := []string{}
	p := numbered(0, none, &rows)
	p.shape = dataset.Shape{C: 1, H: 28, W: 28}
	p.sources = only(imageSource{stream: &imageStream{files: s.Files, reader: streamReader(p.shape, dataset.Reading{})}})
	p.score = func(_ context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
		return append(dst, make([]nln.Score, x.N)...), nil
	}
	sound := 0
	p.write = func(name string, s *nln.Score, failed error) error {
		if failed == nil {
			sound++
		}
		return failed
	}
	var most uint64
	p.wrote = func(*imageSource, int) error {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
		return nil
	}
	if err := p.run(t.Context()); err != nil || sound != images {
		t.Fatalf("%d images, %v", sound, err)
	}
	if most > 40*padding {
		t.Errorf("%d bytes of memory for %d bytes of archive", most, images*padding)
	}
}

// An archive that is cut off gives the rows of what was sound, and then fails.
func TestScoreCutShort(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(stdout io.Writer, stderr *watched, args ...string) int {
		return Run(t.Context(), Env{Stdout: stdout, Stderr: stderr}, args)
	}
	for _, args := range [][]string{
		{"data", "synth", "-o", "glyphs", "--format", "idx", "--train", "200", "--test", "20"},
		{"train", "--data", "glyphs", "--steps", "1", "--batch", "16", "-o", "b.nln"},
	} {
		if code := run(io.Discard, &watched{}, args...); code != exitOK {
			t.Fatalf("%v: status %d", args, code)
		}
	}
	tarImages(t, "x.tar", 300, 0)
	if err := os.Truncate("x.tar", 280*1024+530); err != nil { // in the middle of the 281st
		t.Fatal(err)
	}
	var rows bytes.Buffer
	stderr := &watched{}
	if code := run(&rows, stderr, "score", "-m", "b.nln", "tar:x.tar"); code != exitFailure || !strings.Contains(stderr.String(), "x.tar: read tar: the archive ends too early") {
		t.Errorf("status %d: %s", code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(rows.String()), "\n")
	if len(lines) != 280 || !strings.HasPrefix(lines[279], `{"image":"x.tar!00279.png","status":"ok"`) {
		t.Errorf("%d rows, the last %s", len(lines), lines[len(lines)-1])
	}
	if code := run(io.Discard, &watched{}, "score", "-m", "b.nln", "tar:x.tar", "-o", "rows.csv"); code != exitFailure {
		t.Errorf("status %d", code)
	}
	if _, err := os.Stat("rows.csv"); err == nil {
		t.Error("a file of half the rows is there")
	}
}
