package cli

import (
	"io"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/engine"
)

// Rows that an engine computed out of pixels say what others do, and of the same images
// that they cannot be read.
func TestScoreWithEngine(t *testing.T) {
	t.Chdir(t.TempDir())
	inProcess(t, "data", "synth", "-o", "parts", "--size", "28", "--train", "30", "--test", "7")
	inProcess(t, "train", "--data", "mvtec:parts", "--steps", "2", "--batch", "8", "--quiet", "-o", "b.nln")
	if err := os.WriteFile("parts/test/good/aaa.png", []byte("no picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open("b.nln", torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var all [2][]row
	for i, name := range []string{"host.jsonl", "engine.jsonl"} {
		r := run{scorer: b.Scorer, bundle: b, reading: readingOf(b, dataset.Reading{}), meter: &meter{}, readers: 2}
		if err := r.writeRows(t.Context(), io.Discard, name, []string{"folder:parts/test"}); err == nil || !strings.Contains(err.Error(), "1 of ") {
			t.Fatalf("%s: error %v", name, err)
		}
		if all[i], err = readRows(name); err != nil {
			t.Fatal(err)
		}
		if err := b.UseEngine(); i == 0 && (err != nil || b.Engine == nil) {
			t.Fatalf("no engine: %v, %v", err, b.OnHost)
		}
	}
	for i, want := range all[0] {
		got := all[1][i]
		if got.Image != want.Image || got.Status != want.Status || (got.numbers == nil) != (want.numbers == nil) {
			t.Errorf("row %d: %+v, want %+v", i, got, want)
		} else if want.numbers != nil && math.Abs(got.Recon-want.Recon) > engine.Tolerance*want.Recon {
			t.Errorf("row %d: %+v, want %+v", i, got, want)
		}
	}
}
