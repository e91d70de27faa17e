package cli

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nlnctl/nlnctl/internal/atomicfile"
)

// writtenRows returns some rows in a form, and where each ends.
func writtenRows(t *testing.T, f form, names []string) (text []byte, ends []int) {
	t.Helper()
	var b bytes.Buffer
	r := &run{}
	r.rowsTo(&b, f)
	flush := func() { // bytes are counted, so each row goes out at once
		if err := r.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.rows.begin(); err != nil {
		t.Fatal(err)
	}
	flush()
	for i, name := range names {
		line := &row{Image: name, Status: statusOK, Model: "m", numbers: &numbers{Score: float64(i), Novel: i%3 == 0, Neighbors: []int64{1, 2}, NeighborImages: []string{name, "b"}}}
		if i%4 == 1 {
			line = &row{Image: name, Status: statusUnreadable, Reason: "torn, \"in\" two", Model: "m"}
		}
		if err := r.rows.put(line); err != nil {
			t.Fatal(err)
		}
		flush()
		ends = append(ends, b.Len())
	}
	return b.Bytes(), ends
}

// Wherever the rows of a run are cut off, those that are whole are found again, and
// nothing else.
func TestRowScannerAtEveryCut(t *testing.T) {
	names := []string{"a.png", "b c.png", `q"uo"te.png`, "two\nlines.png", "comma,.png", "Grüße.png", "\xff.png", ""}
	for _, f := range []form{formJSON, formCSV} {
		text, ends := writtenRows(t, f, names)
		for cut := 1; cut <= len(text); cut++ {
			path := filepath.Join(t.TempDir(), "rows")
			if err := os.WriteFile(path, text[:cut], 0o644); err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := newRowScanner(file, f)
			if err != nil {
				t.Fatal(err)
			}
			var have tally
			at := s.offset()
			for {
				row, err := s.next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("%s cut at %d of %d: %v", f, cut, len(text), err)
				}
				if i := have.total; !row.isOf(names[i]) || row.bad != (i%4 == 1) || row.novel != (i%3 == 0 && i%4 != 1) {
					t.Fatalf("%s cut at %d: row %d is %+v", f, cut, i, row)
				}
				row.count(&have)
				at = s.offset()
			}
			want := 0
			for want < len(ends) && ends[want] <= cut {
				want++
			}
			if have.total != want || want > 0 && at != int64(ends[want-1]) {
				t.Fatalf("%s cut at %d of %d: %d rows up to %d, want %d", f, cut, len(text), have.total, at, want)
			}
			file.Close()
		}
	}
	for f, text := range map[form]string{
		formJSON: "{\"image\":\"a\",\"status\":\"ok\"}\nnothing\n",
		formCSV:  strings.Join(csvHeader, ",") + "\na,b\n" + strings.Repeat("x,", len(csvHeader)-1) + "x\n",
	} {
		path := filepath.Join(t.TempDir(), "rows")
		os.WriteFile(path, []byte(text), 0o644)
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		s, err := newRowScanner(file, f)
		for err == nil {
			_, err = s.next()
		}
		if err == io.EOF {
			t.Errorf("%s that is damaged in the middle is taken for whole", f)
		}
	}
}

// A run goes on with the first batch that is not whole, where what is left of it
// goes, and refuses rows that are not those of the images.
func TestSkip(t *testing.T) {
	const size = 3
	names := []string{"0", "1", "2", "3", "4", "5", "6", "7"}
	text, ends := writtenRows(t, formJSON, names)
	images := func(names []string) imageSource {
		return imageSource{n: len(names), name: func(i int) string { return names[i] }}
	}
	for whole := range len(names) + 1 {
		cut := 5
		if whole > 0 {
			cut = min(ends[whole-1]+5, len(text))
		}
		for _, split := range []int{0, 2, 5, 8} { // images before it are another source
			path := filepath.Join(t.TempDir(), "rows.partial")
			if err := os.WriteFile(path, text[:cut], 0o644); err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			s, err := newRowScanner(file, formJSON)
			if err != nil {
				t.Fatal(err)
			}
			p, begun := &partial{file: file, rows: s}, 0
			p.begin = func() error { begun++; return nil }
			var sum tally
			a, err1 := p.skip(images(names[:split]).names(), size, &sum)
			b, err2 := p.skip(images(names[split:]).names(), size, &sum)
			if err := errors.Join(err1, err2, p.ended()); err != nil {
				t.Fatal(err)
			}
			wantA := split
			if whole < split {
				wantA = whole / size * size
			}
			wantB := 0
			if whole >= split {
				if wantB = whole - split; whole < len(names) {
					wantB = wantB / size * size
				}
			}
			want := wantA + wantB
			if a != wantA || b != wantB || sum.total != want {
				t.Errorf("%d rows, %d images first: %d and %d of them skipped, %d counted; want %d and %d", whole, split, a, b, sum.total, wantA, wantB)
			}
			end := int64(0)
			if want > 0 {
				end = int64(ends[want-1])
			}
			if st, err := file.Stat(); err != nil || st.Size() != end || (begun == 1) != (want == 0) {
				t.Errorf("%d rows, %d images first: %d bytes left, want %d; begun %d times", whole, split, st.Size(), end, begun)
			}
			file.Close()
		}
	}
	for what, c := range map[string]struct {
		names []string
		want  string
	}{
		"other image": {[]string{"0", "1", "x"}, "row 3 is of 2, and the image there is x now"},
		"fewer":       {names[:4], "it has a row of 4, behind those of all images"},
	} {
		path := filepath.Join(t.TempDir(), "rows.partial")
		os.WriteFile(path, text, 0o644)
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newRowScanner(file, formJSON)
		if err != nil {
			t.Fatal(err)
		}
		p := &partial{file: file, rows: s}
		_, err = p.skip(images(c.names).names(), size, new(tally))
		if err == nil {
			err = p.ended()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if st, err := file.Stat(); err != nil || st.Size() != int64(len(text)) {
			t.Errorf("%s: the rows were touched", what)
		}
		file.Close()
	}
}

// program returns the program as a command of its own process.
func program(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	return &exec.Cmd{Path: exe, Args: append([]string{"nlnctl"}, args...), Env: os.Environ(), Stderr: &stderr}, &stderr
}

// writeTar makes an archive of n members out of the files of a folder.
func writeTar(t *testing.T, path, dir string, n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range n {
		data, err := os.ReadFile(files[i%len(files)])
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%04d.png", i), Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), os.WriteFile(path, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// Killed again and again in the middle of its rows, a run that goes on each time
// ends with the output of one that nothing has stopped, to the byte.
func TestKillAndResume(t *testing.T) {
	const images, seed = 3000, 11
	t.Chdir(t.TempDir())
	inProcess(t, "data", "synth", "-o", "glyphs", "--format", "idx", "--train", "300", "--test", fmt.Sprint(images))
	inProcess(t, "data", "synth", "-o", "parts", "--size", "28", "--train", "1", "--test", "7")
	inProcess(t, "train", "--data", "glyphs", "--steps", "5", "--batch", "16", "-o", "b.nln", "--quiet")
	if err := os.WriteFile("broken.png", []byte("no picture"), 0o644); err != nil {
		t.Fatal(err)
	}
	writeTar(t, "many.tar", "parts/test/good", 1000)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, ending := range []string{"jsonl", "csv", "parquet"} {
		args := func(name string) []string {
			return []string{"score", "-m", "b.nln", "parts/test/good", "tar:many.tar", "broken.png", "parts/test/good", "glyphs", "--fpr", "0.1", "--threads", "2", "-o", name + "." + ending}
		}
		whole, stderr := program(t, args("whole")...)
		if err := whole.Run(); whole.ProcessState.ExitCode() != exitIncomplete {
			t.Fatalf("%v\n%s", err, stderr)
		}
		partial := "cut." + ending + partialEnding
		kills, cut := 0, 0
		for size, next := int64(0), int64(0); ; {
			next = size + 1 + rng.Int64N(600_000)
			more := args("cut")
			if kills > 0 {
				more = append(more, "--resume")
			}
			cmd, stderr := program(t, more...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			done := false
			for !done {
				select {
				case <-ended:
					done = true
				case <-time.After(200 * time.Microsecond):
					if st, err := os.Stat(partial); err == nil && st.Size() >= next {
						cmd.Process.Kill()
						<-ended
						kills, done = kills+1, true
					}
				}
			}
			if cmd.ProcessState.ExitCode() == exitIncomplete {
				break
			}
			if cmd.ProcessState.Exited() {
				t.Fatalf("%s, seed %d: status %d after %d kills\n%s", ending, seed, cmd.ProcessState.ExitCode(), kills, stderr)
			}
			if _, err := os.Stat("cut." + ending); err == nil {
				continue // killed between the last row and the end
			}
			rows, err := os.ReadFile(partial)
			if err != nil {
				t.Fatal(err)
			}
			size = int64(len(rows))
			if rng.IntN(2) == 0 { // as if the last write had not been all of it
				size -= rng.Int64N(min(size, 1000) + 1)
				if err := os.Truncate(partial, size); err != nil {
					t.Fatal(err)
				}
			}
			if size > 0 && rows[size-1] != '\n' {
				cut++
			}
		}
		want, err1 := os.ReadFile("whole." + ending)
		have, err2 := os.ReadFile("cut." + ending)
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s, seed %d: other output after %d kills: %v", ending, seed, kills, err)
		}
		t.Logf("%s: %d kills, %d of them within a row", ending, kills, cut)
		if kills < 2 || cut == 0 {
			t.Errorf("%s: killed %d times only, %d of them within a row", ending, kills, cut)
		}
		if left, _ := filepath.Glob("*.partial*"); left != nil {
			t.Errorf("%s: %q are left", ending, left)
		}
	}
}

// A run goes on with what it began with, or not at all.
func TestResumeRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"data", "synth", "-o", "glyphs", "--format", "idx", "--train", "200", "--test", "20"},
		{"train", "--data", "glyphs", "--steps", "1", "--batch", "16", "-o", "b.nln"},
		{"train", "--data", "glyphs", "--steps", "2", "--batch", "16", "-o", "c.nln"},
		{"score", "-m", "b.nln", "glyphs", "-o", "all.jsonl"},
	} {
		if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: io.Discard}, args); code != exitOK {
			t.Fatalf("%v: status %d", args, code)
		}
	}
	rows, err := os.ReadFile("all.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	score := func(more ...string) (int, string) {
		var stderr bytes.Buffer
		code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: &stderr}, append([]string{"score"}, more...))
		return code, stderr.String()
	}
	// What a run leaves that was interrupted when its rows were half there.
	leave := func(name string) {
		stderr := &watched{}
		args := append([]string{"score", "-m", "b.nln", "glyphs", "later", "-o", name}, "--quiet")
		if code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: stderr}, args); code != exitFailure || !strings.Contains(stderr.String(), "repeat the command with --resume") {
			t.Fatalf("status %d\n%s", code, stderr)
		}
	}
	leave("r.jsonl")
	if have, err := os.ReadFile("r.jsonl.partial"); err != nil || !bytes.Equal(have, rows) {
		t.Fatalf("rows of the run that failed: %v, %d bytes, want %d", err, len(have), len(rows))
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"pass --resume", []string{"-m", "b.nln", "glyphs", "later", "-o", "r.jsonl"}},
		{"it had another inputs", []string{"-m", "b.nln", "glyphs", "-o", "r.jsonl", "--resume"}},
		{"it had another model", []string{"-m", "c.nln", "glyphs", "later", "-o", "r.jsonl", "--resume"}},
		{"it had another policy", []string{"-m", "b.nln", "glyphs", "later", "-o", "r.jsonl", "--resume", "--fpr", "0.5"}},
		{"it had another threshold", []string{"-m", "b.nln", "glyphs", "later", "-o", "r.jsonl", "--resume", "--threshold", "0.5"}},
		{"it had another limits", []string{"-m", "b.nln", "glyphs", "later", "-o", "r.jsonl", "--resume", "--max-side", "99"}},
		{"--resume needs --output", []string{"-m", "b.nln", "glyphs", "--resume"}},
		{"keeps no rows to go on from", []string{"-m", "b.nln", "glyphs", "--resume", "-o", "/dev/null"}},
	} {
		code, stderr := score(c.args...)
		if code == exitOK || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: status %d, want %q in\n%s", c.args, code, c.want, stderr)
		}
		if have, err := os.ReadFile("r.jsonl.partial"); err != nil || !bytes.Equal(have, rows) {
			t.Fatalf("%q: the rows are not what they were: %v", c.args, err)
		}
	}
	locked, err := atomicfile.OpenLocked("r.jsonl.partial", os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	again := []string{"-m", "b.nln", "glyphs", "later", "-o", "r.jsonl", "--resume"}
	if code, stderr := score(again...); code != exitFailure || !strings.Contains(stderr, "in use by another run") {
		t.Errorf("two at once: status %d\n%s", code, stderr)
	}
	locked.Close()
	// What was missing is there now; its rows come behind those that are.
	if err := os.Symlink("glyphs", "later"); err != nil {
		t.Fatal(err)
	}
	if code, stderr := score(again...); code != exitOK || !strings.Contains(stderr, "20 of them have their rows already") {
		t.Errorf("resumed: status %d\n%s", code, stderr)
	}
	if have, err := os.ReadFile("r.jsonl"); err != nil || !bytes.Equal(have, slices.Concat(rows, rows)) {
		t.Errorf("resumed: %d bytes, want %d: %v", len(have), 2*len(rows), err)
	}
	if code, stderr := score(again...); code != exitOK || !strings.Contains(stderr, "is not there: beginning anew") {
		t.Errorf("nothing to go on from: status %d\n%s", code, stderr)
	}
	// One that fails before its first row leaves nothing.
	if code, _ := score("-m", "b.nln", "nowhere", "-o", "n.csv"); code != exitFailure {
		t.Errorf("status %d", code)
	}
	for _, pattern := range []string{"n.csv*", "*.partial*"} {
		if left, _ := filepath.Glob(pattern); left != nil {
			t.Errorf("left behind: %q", left)
		}
	}
}
