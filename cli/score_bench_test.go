package cli

import (
	"bufio"
	"context"
	"fmt"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// benchFiles is how many files of 28x28 pixels are scored.
const benchFiles = 4096

// BenchmarkScoreFiles takes files to rows: all stages together, and each with
// the others left out, of which the slowest is the bound for all together. With
// NLN_BENCH_BUNDLE=DIR it scores with a bundle of one's own for such images.
func BenchmarkScoreFiles(b *testing.B) {
	dir := b.TempDir()
	run := &run{meter: new(meter), readers: runtime.GOMAXPROCS(0), bundle: benchBundle(b, dir)}
	run.scorer = run.bundle.Scorer
	shape := run.scorer.Model().Shape()
	files := fileSource(dir, writeFiles(b, dir), shape, run.reading)
	noImages, noScores := files, []nln.Score{}
	noImages.reader = func() func(int, []uint8) error { return func(int, []uint8) error { return nil } }
	scale := run.bundle.Manifest.Data.Scale
	pixels := dataset.Bytes{Shape: shape, N: batchImages, Pix: make([]uint8, batchImages*shape.Len()), Scale: scale}
	read := files.reader()
	for i := range pixels.N {
		if err := read(i, pixels.Slice(i, i+1).Pix); err != nil {
			b.Fatal(err)
		}
	}
	x := pixels.Images(make([]float32, len(pixels.Pix)))
	noScores, err := run.scorer.Score(b.Context(), x, noScores)
	if err != nil {
		b.Fatal(err)
	}
	noScore := func(_ context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error) {
		return append(dst, noScores[:x.N]...), nil
	}
	noWrite := func(string, *nln.Score, error) error { return nil }
	same := func(ctx context.Context, part dataset.Images, dst []nln.Score) ([]nln.Score, error) {
		return run.scorer.Score(ctx, x.Slice(0, part.N), dst)
	}
	for _, stage := range []struct {
		name   string
		images imageSource
		score  func(context.Context, dataset.Images, []nln.Score) ([]nln.Score, error)
		write  func(string, *nln.Score, error) error
	}{
		{"read", files, noScore, noWrite},
		{"score", noImages, same, noWrite},
		{"write", noImages, noScore, run.write},
		{"all", files, run.scorer.Score, run.write},
	} {
		b.Run(stage.name, func(b *testing.B) {
			run.out = bufio.NewWriter(io.Discard)
			run.rows = &jsonRows{w: run.out}
			p := pipeline{sources: only(stage.images), shape: shape, scale: scale, size: batchSize(shape), readers: run.readers, score: stage.score, write: stage.write,
				wrote: func(*imageSource, int) error { return nil }}
			for b.Loop() {
				if err := p.run(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*benchFiles), "us/image")
		})
	}
}

// benchBundle opens the bundle of the benchmark, or makes one in dir.
func benchBundle(b *testing.B, dir string) *bundle.Bundle {
	path := os.Getenv("NLN_BENCH_BUNDLE")
	if path == "" {
		glyphs := filepath.Join(dir, "glyphs")
		path = filepath.Join(dir, "b.nln")
		for _, args := range [][]string{
			{"data", "synth", "-o", glyphs, "--format", "idx", "--train", "4000", "--test", "20"},
			{"train", "--data", "mnist:" + glyphs, "--steps", "1", "-q", "-o", path},
		} {
			if code := Run(b.Context(), Env{Stdout: io.Discard, Stderr: os.Stderr}, args); code != exitOK {
				b.Fatalf("%v: status %d", args, code)
			}
		}
	}
	opened, err := bundle.Open(path, torch.CPU)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { opened.Close() })
	return opened
}

// writeFiles writes images with as much in them as a handwritten digit has.
func writeFiles(b *testing.B, dir string) []string {
	rng := rand.New(rand.NewPCG(1, 0))
	var names []string
	img := image.NewGray(image.Rect(0, 0, 28, 28))
	for i := range benchFiles {
		for k := range img.Pix {
			img.Pix[k] = 0
			if k%28 > 9 && k%28 < 18 {
				img.Pix[k] = uint8(rng.Uint32())
			}
		}
		names = append(names, fmt.Sprintf("%05d.png", i))
		f, err := os.Create(filepath.Join(dir, names[i]))
		if err != nil {
			b.Fatal(err)
		}
		if err := png.Encode(f, img); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	return names
}
