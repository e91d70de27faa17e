package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/bench/workload"
)

// pictures returns a folder with count image files like those of f, which it
// makes unless they are there.
func (r *runner) pictures(ctx context.Context, f folder) (string, error) {
	if err := r.prepare(ctx, f); err != nil {
		return "", err
	}
	dir := fmt.Sprintf("%s-pictures-%d", r.dir(f), r.plan.files)
	return dir, r.make(ctx, dir, "-task", "pictures", "-dir", r.dir(f), "-count", strconv.Itoa(r.plan.files))
}

// make has a folder of pictures written, whole or not at all.
func (r *runner) make(ctx context.Context, dir string, args ...string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	r.say("preparing %s", filepath.Base(dir))
	argv := append([]string{r.program("ours"), "-pictures", part}, args...)
	if _, _, err := launch(ctx, r.processors(), argv...); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// smallFiles measures scoring many small files: the command and its stages in turn.
func (r *runner) smallFiles(ctx context.Context, f folder, threads int) error {
	dir, err := r.pictures(ctx, f)
	if err != nil {
		return err
	}
	rows := filepath.Join(r.work, "rows.jsonl")
	found := results.Files{Name: "PNG of " + f.shape, Count: r.plan.files, Threads: threads}
	var turns []results.Files
	var whole, slow []float64
	for range 3 {
		turn := found
		if turn.Start, err = r.scoring(ctx, "start", f, threads, rows, filepath.Join(r.dir(f), workload.ImageFile)); err != nil {
			return err
		}
		if turn.Whole, err = r.scoring(ctx, "all together", f, threads, rows, dir); err != nil {
			return err
		}
		if turn.Stages, err = r.stages(ctx, threads, "-dir", r.dir(f), "-pictures", dir, "-rows", rows); err != nil {
			return err
		}
		turns = append(turns, turn)
		whole, slow = append(whole, turn.Whole.Seconds), append(slow, turn.Slowest())
	}
	found = middle(turns)
	found.Ratio = results.Over(whole, slow)
	r.say("files/%s/threads%d: %.2f s, %.2f times the slowest stage, %.2f times the bound", f.shape, threads,
		found.Whole.Seconds, found.Ratio.Median, found.Whole.Seconds/found.Bound(threads))
	r.found.Files = append(r.found.Files, found)
	return nil
}

// scoring measures nlnctl score of what, which writes its rows to a file.
func (r *runner) scoring(ctx context.Context, name string, f folder, threads int, rows, what string) (workload.Stage, error) {
	return r.scoringWith(ctx, name, r.dir(f), threads, rows, what)
}

func (r *runner) scoringWith(ctx context.Context, name, dir string, threads int, rows string, what ...string) (workload.Stage, error) {
	start := time.Now()
	_, state, err := launch(ctx, threads, append([]string{r.program("nlnctl"), "score", "-q", "--threads", strconv.Itoa(threads),
		"-m", filepath.Join(dir, workload.BundleDir), "-o", rows}, what...)...)
	if err != nil {
		return workload.Stage{}, err
	}
	return workload.Stage{Name: name, Seconds: time.Since(start).Seconds(), CPU: (state.UserTime() + state.SystemTime()).Seconds()}, nil
}

// stages has the stages measured, each alone.
func (r *runner) stages(ctx context.Context, threads int, args ...string) (found []workload.Stage, err error) {
	answer := filepath.Join(r.work, "stages.json")
	argv := append([]string{r.program("ours"), "-task", "stages", "-threads", strconv.Itoa(threads), "-answer", answer}, args...)
	if _, _, err := launch(ctx, threads, argv...); err != nil {
		return nil, err
	}
	return found, workload.ReadJSON(answer, &found)
}

// middle returns the medians of all stages.
func middle(turns []results.Files) results.Files {
	f := turns[0]
	median := func(of func(results.Files) workload.Stage) workload.Stage {
		var s, c []float64
		for _, t := range turns {
			s, c = append(s, of(t).Seconds), append(c, of(t).CPU)
		}
		return workload.Stage{Name: of(turns[0]).Name, Seconds: results.Of(s).Median, CPU: results.Of(c).Median}
	}
	f.Start = median(func(t results.Files) workload.Stage { return t.Start })
	f.Whole = median(func(t results.Files) workload.Stage { return t.Whole })
	f.Stages = nil
	for i := range turns[0].Stages {
		f.Stages = append(f.Stages, median(func(t results.Files) workload.Stage { return t.Stages[i] }))
	}
	return f
}

// largePasses is how often the large files are scored, so that the start hardly counts.
const largePasses = 20

// largeFiles measures scoring pictures of a megapixel, which are resized to 128x128,
// with a model that has seen some of them: the command and its stages in turn.
func (r *runner) largeFiles(ctx context.Context, threads int) error {
	dir := filepath.Join(r.work, fmt.Sprintf("megapixels-%d", r.plan.large))
	if err := r.make(ctx, dir, "-task", "megapixels", "-count", strconv.Itoa(r.plan.large)); err != nil {
		return err
	}
	model := filepath.Join(dir, "model")
	if _, err := os.Stat(filepath.Join(model, workload.BundleDir)); err != nil {
		if err := os.MkdirAll(model, 0o755); err != nil {
			return fmt.Errorf("compare: %w", err)
		}
		_, _, err := launch(ctx, r.processors(), r.program("nlnctl"), "train", "-q", "--data", "folder:"+filepath.Join(dir, "jpeg"),
			"--size", "128", "--preset", "fast", "--batch", "8", "--steps", "20", "-o", filepath.Join(model, workload.BundleDir))
		if err != nil {
			return err
		}
	}
	rows := filepath.Join(r.work, "rows.jsonl")
	for _, kind := range []string{"png", "jpeg"} {
		files := filepath.Join(dir, kind)
		found := results.Files{Name: strings.ToUpper(kind) + " of 1024x1024, colour", Count: r.plan.large * largePasses, Threads: threads}
		var turns []results.Files
		var whole, slow []float64
		for range 3 {
			turn := found
			var err error
			if turn.Start, err = r.scoringWith(ctx, "start", model, threads, rows, filepath.Join(files, "000."+kind)); err != nil {
				return err
			}
			if turn.Whole, err = r.scoringWith(ctx, "all together", model, threads, rows, slices.Repeat([]string{files}, largePasses)...); err != nil {
				return err
			}
			if turn.Stages, err = r.stages(ctx, threads, "-dir", model, "-pictures", files, "-passes", strconv.Itoa(largePasses), "-rows", rows); err != nil {
				return err
			}
			turns = append(turns, turn)
			whole, slow = append(whole, turn.Whole.Seconds), append(slow, turn.Slowest())
		}
		found = middle(turns)
		found.Ratio = results.Over(whole, slow)
		r.say("files/megapixel/%s/threads%d: %.1f a second, %.2f times the slowest stage, %.2f times the bound", kind, threads,
			float64(found.Count)/found.Whole.Seconds, found.Ratio.Median, found.Whole.Seconds/found.Bound(threads))
		r.found.Files = append(r.found.Files, found)
	}
	return nil
}

// stream measures the memory of the command while it scores a folder many times over.
func (r *runner) stream(ctx context.Context, f folder) error {
	dir, err := r.pictures(ctx, f)
	if err != nil {
		return err
	}
	n := r.processors()
	argv := []string{r.program("nlnctl"), "score", "-q", "--threads", strconv.Itoa(n), "-m", filepath.Join(r.dir(f), workload.BundleDir)}
	for range r.plan.passes {
		argv = append(argv, dir)
	}
	cmd, err := pinned(ctx, n, argv...)
	if err != nil {
		return err
	}
	w := &watch{total: r.plan.passes * r.plan.files, cmd: cmd}
	cmd.Stdout = w
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compare: score for long: %w", err)
	}
	s := results.Stream{Images: w.rows, Minutes: time.Since(start).Minutes(), Early: w.early, Late: w.late, Peak: peakMB(cmd.ProcessState)}
	if s.Images != w.total || s.Early == 0 {
		return fmt.Errorf("compare: score for long: %d rows of %d, %.0f MB", s.Images, w.total, s.Early)
	}
	r.say("stream: %d images, %.0f MB after a tenth, %.0f at the end, peak %.0f", s.Images, s.Early, s.Late, s.Peak)
	r.found.Streams = append(r.found.Streams, s)
	return nil
}

// A watch counts the rows that a process writes, and reads its memory meanwhile.
type watch struct {
	cmd         *exec.Cmd
	rows, total int
	early, late float64 // MB after a tenth of the rows, and the last that was read
}

var _ io.Writer = (*watch)(nil)

func (w *watch) Write(p []byte) (int, error) {
	const every = 2000 // rows between two readings
	before := w.rows
	for _, c := range p {
		if c == '\n' {
			w.rows++
		}
	}
	if before/every == w.rows/every {
		return len(p), nil
	}
	if mb := residentMB(w.cmd.Process.Pid); mb > 0 {
		w.late = mb
		if w.early == 0 && w.rows >= w.total/10 {
			w.early = mb
		}
	}
	return len(p), nil
}

// residentMB returns the resident memory of a process in MB, 0 if it has ended.
func residentMB(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	return vmRSS(string(text))
}

// vmRSS reads the text of /proc/PID/status.
func vmRSS(text string) float64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kb * 1024 / 1e6
		}
	}
	return 0
}
