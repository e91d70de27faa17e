package cli

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// The command, killed at any moment of its run, leaves the bundle as it was or as
// it was to become, and in nobody's way.
func TestKillIndexAdd(t *testing.T) {
	const kills, seed = 10, 23
	t.Chdir(t.TempDir())
	inProcess(t, "data", "synth", "-o", "parts", "--size", "32", "--train", "60", "--test", "21")
	inProcess(t, "train", "--data", "parts", "--steps", "3", "--batch", "16", "-o", "b.nln", "--quiet")
	start := time.Now()
	inProcess(t, "index", "add", "-m", "b.nln", "parts/test/good", "--quiet")
	took := time.Since(start)
	after, _, err := bundle.ReadManifest("b.nln")
	if err != nil {
		t.Fatal(err)
	}
	inProcess(t, "index", "rollback", "-m", "b.nln")
	before, digest, err := bundle.ReadManifest("b.nln")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		cmd, stderr := program(t, "index", "add", "-m", "b.nln", "parts/test/good", "--quiet")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Most of the time goes by before anything is written.
		delay := took/2 + time.Duration(rng.Int64N(int64(took)))
		timer := time.AfterFunc(delay, func() { cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil && cmd.ProcessState.Exited() {
			t.Fatalf("seed %d: %v\n%s", seed, err, stderr)
		}
		timer.Stop()
		m, now, err := bundle.ReadManifest("b.nln")
		if err != nil {
			t.Fatalf("seed %d: killed after %v: %v", seed, delay, err)
		}
		switch m.Data.Indexed {
		case before.Data.Indexed:
			if now != digest {
				t.Fatalf("seed %d: killed after %v: neither the old bundle nor the new one", seed, delay)
			}
		case after.Data.Indexed:
			for name, f := range after.Files {
				if m.Files[name] != f {
					t.Fatalf("seed %d: killed after %v: another %s", seed, delay, name)
				}
			}
			inProcess(t, "index", "rollback", "-m", "b.nln")
		default:
			t.Fatalf("seed %d: killed after %v: %d images", seed, delay, m.Data.Indexed)
		}
	}
	inProcess(t, "index", "add", "-m", "b.nln", "parts/test/good", "--keep", "0", "--quiet")
	if left, _ := filepath.Glob(".b.nln*"); left != nil {
		t.Errorf("%q are left", left)
	}
}

// Images are left out by name and by what they show, and come with their classes.
func TestNewImages(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"data", "synth", "-o", "glyphs", "--format", "idx", "--train", "200", "--test", "20"},
		{"train", "--data", "glyphs", "--steps", "1", "--batch", "16", "--protocol", "miso", "--class", "3", "-o", "b.nln"},
		{"data", "synth", "-o", "more", "--format", "idx", "--train", "50", "--test", "20", "--seed", "2"},
	} {
		if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: io.Discard}, args); code != exitOK {
			t.Fatalf("%v: status %d", args, code)
		}
	}
	b, err := bundle.Open("b.nln", torch.CPU)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	held, err := b.ReadHeld("b.nln")
	if err != nil {
		t.Fatal(err)
	}
	l := &lesson{bundle: b, meter: new(meter), held: held}
	reading := readingOf(b, dataset.Reading{})
	none, err := l.normalImages(t.Context(), reading, []string{"glyphs"})
	if err != nil || none.Len() != 0 {
		t.Errorf("%d images of those trained on and held out are new (%v)", none.Len(), err)
	}
	l.sameNames = true
	if all, err := l.normalImages(t.Context(), reading, []string{"glyphs"}); err != nil || all.Len() != 180-len(held.Digests) {
		t.Errorf("%d images although names do not count, want all but those held out: %v", all.Len(), err)
	}
	l.sameNames = false
	// Their names are those of other images: names alone would leave them out.
	for i := range b.Train {
		b.Train[i].Name = "first/" + b.Train[i].Name
	}
	others, err := l.normalImages(t.Context(), reading, []string{"more"})
	if err != nil || others.Len() != 45 {
		t.Errorf("%d normal images of another set, want 45: %v", others.Len(), err)
	}
	some, err := l.normalImages(t.Context(), reading, []string{"glyphs", "glyphs"})
	if err != nil {
		t.Fatal(err)
	}
	// The 180 normal ones less those held out, once.
	if want := 180 - len(held.Digests); some.Len() != want || len(held.Digests) != 18 {
		t.Errorf("%d images, want %d", some.Len(), want)
	}
	for i := range some.Len() {
		x := some.Gather([]int{i}, make([]float32, some.Size.Len()))
		if held.Contains(nln.DigestOf(x.Pix)) {
			t.Errorf("%s is held out and new", some.ImageName(i))
		}
		if name := some.ClassName(i); name == "3" || !slices.Contains([]string{"0", "1", "2", "4", "5", "6", "7", "8", "9"}, name) {
			t.Errorf("%s has the class %q", some.ImageName(i), name)
		}
	}
	if _, err := os.Stat("b.nln.versions"); err == nil {
		t.Error("reading images made a version")
	}
}
