package bundle

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// A bundle that is opened while others take its place is one of them, whole.
func TestOpenWhileTeaching(t *testing.T) {
	f := teachable(t)
	path := filepath.Join(t.TempDir(), "b.nln")
	if err := f.Save(path, false); err != nil {
		t.Fatal(err)
	}
	n, opened := 8*batchOf, 0
	changed := make(chan error)
	go func() {
		defer close(changed)
		for i := range 12 { // as many images each time, but others
			if err := revise(t, path, ids(0, 1), f.more.Subset([]int{i}), 1); err != nil {
				changed <- err
				return
			}
		}
	}()
	for done := false; !done; opened++ {
		select {
		case err, more := <-changed:
			if err != nil {
				t.Fatal(err)
			}
			done = !more
		default:
		}
		b, err := Open(path, torch.CPU)
		if err != nil {
			t.Fatalf("opening no. %d: %v", opened+1, err)
		}
		// The index has the vectors that the tables are of: a reconstruction is that
		// of its latent.
		last := n - 1
		xhat := make([]float32, f.model.Shape().Len())
		if err := b.Model.Decode(t.Context(), b.Index.Vectors()[last*b.Index.Dim():(last+1)*b.Index.Dim()], xhat); err != nil {
			t.Fatal(err)
		}
		if d := b.Scorer.Recon().MeanAbs(xhat, last); len(b.Train) != n || d > 1./255 {
			t.Fatalf("opening no. %d: %d images, the last with the reconstruction of another: %v", opened+1, len(b.Train), d)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("opened %d times", opened)
}

// teachLoopPath names the bundle for TestTeachLoop.
const teachLoopPath = "NLN_TEST_TEACH_LOOP"

// TestTeachLoop changes the bundle at the path that the environment names, again and
// again, until it is killed: it adds and removes the same images, goes back to
// where it began, and sets the threshold.
func TestTeachLoop(t *testing.T) {
	path := os.Getenv(teachLoopPath)
	if path == "" {
		t.Skip("for TestKillWhileTeaching alone")
	}
	more := images(t, 50).Subset([]int{1, 2, 3})
	for {
		m, _ := manifestOf(t, path)
		var err error
		if n := 8 * batchOf; m.Data.Indexed == n {
			err = revise(t, path, nil, more, 2)
		} else if len(m.Edits) < 4 {
			err = revise(t, path, ids(n, n+more.Len()), nil, 2)
		} else {
			for err == nil && len(m.Edits) > 0 {
				if _, err = Rollback(path, ""); err == nil {
					m, _ = manifestOf(t, path)
				}
			}
			if errors.Is(err, ErrNoVersion) {
				err = SetCut(path, &Cut{FPR: rand.Float64()/2 + .1})
				m.Edits = nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("changed")
	}
}

// killWriting kills a process a moment after it has begun to write a bundle, of which
// the files that a pattern matches are the sign: a killed one before it may have left
// some. At the latest it kills after ten seconds.
func killWriting(p *os.Process, pattern string, moment time.Duration) {
	before, _ := filepath.Glob(pattern)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		if now, _ := filepath.Glob(pattern); len(now) > 0 && !slices.Equal(now, before) {
			break
		}
	}
	time.Sleep(moment)
	p.Kill()
}

// Killed at any moment, by a signal that no program can catch, a bundle is that
// before the change or that after it, with sound files and a scorer.
func TestKillWhileTeaching(t *testing.T) {
	const kills, seed = 16, 17
	f := teachable(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "b.nln")
	if err := f.Save(path, false); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[int]map[string]File{} // files by number of indexed images
	m, _ := manifestOf(t, path)
	sizes[m.Data.Indexed] = m.Files
	rng := rand.New(rand.NewPCG(seed, 0))
	changes, leftovers := 0, 0
	pattern := filepath.Join(dir, ".b.nln.*.tmp")
	for round := range kills {
		cmd := exec.Command(exe, "-test.run=^TestTeachLoop$", "-test.count=1")
		cmd.Env = append(os.Environ(), teachLoopPath+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for said := []string(nil); lines.Scan(); {
			said = append(said, lines.Text())
			if strings.Contains(lines.Text(), "FAIL") {
				for lines.Scan() {
					said = append(said, lines.Text())
				}
				t.Fatalf("seed %d: the loop failed:\n%s", seed, strings.Join(said, "\n"))
			}
			if changes++; len(said) == 1 {
				wait := time.Duration(rng.Int64N(int64(300 * time.Millisecond)))
				if round%2 == 0 {
					time.AfterFunc(wait, func() { cmd.Process.Kill() })
				} else {
					go killWriting(cmd.Process, pattern, wait/100)
				}
			}
		}
		cmd.Wait()
		m, _, err := ReadManifest(path)
		if err != nil {
			t.Fatalf("seed %d: after a kill: %v", seed, err)
		}
		if want := sizes[m.Data.Indexed]; want == nil {
			sizes[m.Data.Indexed] = m.Files
		} else if !maps.Equal(want, m.Files) {
			t.Fatalf("seed %d: bundle of %d images with other files than before", seed, m.Data.Indexed)
		}
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			leftovers++
		}
	}
	b := open1(t, path)
	if _, err := b.Scorer.PartsAll(t.Context(), images(t, 1)); err != nil {
		t.Error(err)
	}
	if n := 8 * batchOf; len(sizes) != 2 || sizes[n] == nil || sizes[n+3] == nil {
		t.Errorf("bundles of %v images", slices.Collect(maps.Keys(sizes)))
	}
	t.Logf("%d kills among %d changes; %d times something was left behind", kills, changes, leftovers)
	if changes < kills || leftovers == 0 {
		t.Errorf("%d changes and %d leftovers: the kills came at other moments than during a change", changes, leftovers)
	}
	// What was left behind goes with the next change.
	if err := revise(t, path, ids(0, 1), nil, 0); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}
