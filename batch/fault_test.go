package batch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// begun returns how often each shard was begun, as stubs note in a folder.
func begun(t *testing.T, dir string) map[string]int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, e := range entries {
		shard, _, _ := strings.Cut(e.Name(), "-")
		n[shard]++
	}
	return n
}

const short = 500 * time.Millisecond // lease of these tests

// A worker is killed in the middle of a shard: another does it once the lease ends.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	s := serve(t)
	out, notes := t.TempDir(), t.TempDir()
	st, p := makePlan(t, out, 100, 10)
	q := s.connect()
	first := start(t, job{Role: "worker", URL: s.url, Lease: short, Stub: &stub{Slow: time.Hour, Begun: notes}})
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	until(t, "a shard in work", func() bool { return len(begun(t, notes)) > 0 })
	first.Process.Kill()
	second := start(t, job{Role: "worker", URL: s.url, Lease: short, Drain: true, Stub: &stub{Begun: notes}})
	if err := second.wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	checkDone(t, st, p, 100)
	twice := 0
	for _, n := range begun(t, notes) {
		twice += n - 1
	}
	if twice != 1 {
		t.Errorf("%d shards were begun again, want the one of the killed worker", twice)
	}
}

// The server is killed while shards are queued and in work, and started again.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	s := serve(t)
	out := t.TempDir()
	st, p := makePlan(t, out, 400, 10)
	q := s.connect()
	if n, err := q.Submit(t.Context(), st, p); n != 40 || err != nil {
		t.Fatal(n, err)
	}
	var workers []*child
	for range 2 {
		workers = append(workers, start(t, job{Role: "worker", URL: s.url, Lease: time.Second, Stub: &stub{Slow: 50 * time.Millisecond}}))
	}
	done := func() int {
		status, err := StatusOf(t.Context(), st, p)
		if err != nil {
			t.Fatal(err)
		}
		return status.Done
	}
	for _, n := range []int{5, 15} {
		until(t, "some shards", func() bool { return done() >= n })
		s.kill()
		time.Sleep(100 * time.Millisecond)
		s.up()
	}
	// Nothing is queued again: what the server was told is on its disk.
	if status, err := q.Watch(t.Context(), st, p, WatchOptions{Every: 50 * time.Millisecond}); err != nil || !status.Complete() {
		t.Fatal(status, err)
	}
	checkDone(t, st, p, 400)
	for _, w := range workers {
		w.Process.Signal(syscall.SIGTERM)
	}
	for _, w := range workers {
		if err := w.wait(20 * time.Second); err != nil {
			t.Errorf("a worker ended with %v", err)
		}
	}
}

// The server comes back with an empty disk: what is missing is queued again.
func TestServerWiped(t *testing.T) {
	t.Parallel()
	s := serve(t)
	st, p := makePlan(t, t.TempDir(), 200, 10)
	q := s.connect()
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	w := start(t, job{Role: "worker", URL: s.url, Lease: time.Second, Stub: &stub{Slow: 50 * time.Millisecond}})
	until(t, "some shards", func() bool { status, _ := StatusOf(t.Context(), st, p); return status.Done >= 5 })
	s.kill()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	s.up()
	if status, err := q.Watch(t.Context(), st, p, WatchOptions{Every: 200 * time.Millisecond, Resubmit: true}); err != nil || !status.Complete() {
		t.Fatal(status, err)
	}
	checkDone(t, st, p, 200)
	w.Process.Signal(syscall.SIGTERM)
	if err := w.wait(20 * time.Second); err != nil {
		t.Error(err)
	}
}

// A worker sleeps past its lease, another does its shard, and it wakes.
func TestWorkerAsleep(t *testing.T) {
	t.Parallel()
	s := serve(t)
	notes := t.TempDir()
	st, p := makePlan(t, t.TempDir(), 100, 10)
	q := s.connect()
	// The sleeper's bytes are others, so that counts of the wrong ones would show.
	sleeper := start(t, job{Role: "worker", URL: s.url, Lease: short, Drain: true, Stub: &stub{Slow: 400 * time.Millisecond, Pad: 1, Begun: notes}})
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	until(t, "a shard in work", func() bool { return len(begun(t, notes)) > 0 })
	sleeper.Process.Signal(syscall.SIGSTOP)
	other := start(t, job{Role: "worker", URL: s.url, Lease: short, Drain: true, Stub: &stub{}})
	if err := other.wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	checkDone(t, st, p, 100)
	sleeper.Process.Signal(syscall.SIGCONT)
	if err := sleeper.wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	until(t, "the sleeper to hear", func() bool {
		return strings.Contains(sleeper.text(), "was there") || strings.Contains(sleeper.text(), "done")
	})
	checkDone(t, st, p, 100)
}

// A shard ends every process that tries it: its rows say so in the end.
func TestPoison(t *testing.T) {
	t.Parallel()
	s := serve(t)
	st, p := makePlan(t, t.TempDir(), 100, 10)
	q := s.connect()
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	died := 0
	for range 10 {
		w := start(t, job{Role: "worker", URL: s.url, Lease: short, Tries: 3, Drain: true, Stub: &stub{Crash: 6}})
		if err := w.wait(time.Minute); err == nil {
			break
		}
		died++
	}
	if died != 3 {
		t.Errorf("%d workers died, want 3", died)
	}
	checkDone(t, st, p, 100, 5)
}

// The run itself is killed, with the queue within it, and started again.
func TestRunKilled(t *testing.T) {
	t.Parallel()
	out, dir := t.TempDir(), t.TempDir()
	st, p := makePlan(t, out, 300, 10)
	slow := job{Role: "run", Dir: dir, Output: out, Lease: short, Stub: &stub{Slow: 100 * time.Millisecond}}
	for _, n := range []int{3, 8} {
		c := start(t, slow)
		until(t, "some shards", func() bool { status, _ := StatusOf(t.Context(), st, p); return status.Done >= n })
		c.Process.Kill()
		c.wait(10 * time.Second)
	}
	first := start(t, slow)
	until(t, "a run", func() bool { return strings.Contains(first.text(), "done") })
	second := start(t, slow)
	if err := second.wait(20 * time.Second); err == nil || !strings.Contains(second.text(), ErrLocked.Error()) {
		t.Errorf("a second run on one queue: %v: %s", err, second.text())
	}
	if err := first.wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	checkDone(t, st, p, 300)
}

// Results cannot be written, as on a full disk: no shard is blamed, the worker ends
// with the reason, and what it could not write is done by another.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := serve(t)
	out := t.TempDir()
	st, p := makePlan(t, out, 5000, 1000)
	q := s.connect()
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	full := start(t, job{Role: "worker", URL: s.url, Lease: short, Tries: 1, Limit: 4096, Stub: &stub{}})
	err := full.wait(time.Minute)
	if text := full.text(); err == nil || !strings.Contains(text, ErrStore.Error()) || !strings.Contains(text, "file too large") || strings.Contains(text, string(GaveUp)) {
		t.Errorf("%v: %s", err, text)
	}
	if status, err := StatusOf(t.Context(), st, p); err != nil || status.Done != 0 {
		t.Errorf("%+v, %v", status, err)
	}
	// The drafts that it could not write are gone.
	if left, _ := filepath.Glob(filepath.Join(out, drafts, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	w := start(t, job{Role: "worker", URL: s.url, Lease: short, Tries: 1, Drain: true, Stub: &stub{}})
	if err := w.wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	checkDone(t, st, p, 5000)
}

// A result that is there does no harm in the queue, and items that are bad are rows.
func TestNoWorkTwice(t *testing.T) {
	st, p := makePlan(t, t.TempDir(), 1000, 100)
	q := embed(t, t.TempDir())
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	doAll(t, st, p, &stub{})
	j := &stub{}
	var l log
	if err := q.Work(t.Context(), WorkOptions{Open: opener(j), Drain: true, Progress: l.add}); err != nil {
		t.Fatal(err)
	}
	if j.calls.Load() != 0 || l.count(WasThere) != 10 {
		t.Errorf("%d shards were done again, %d were there", j.calls.Load(), l.count(WasThere))
	}
	sum := checkDone(t, st, p, 1000)
	if want := (Counts{Rows: 1000, OK: 990, Bad: 10, Novel: 100}); sum.Counts != want {
		t.Errorf("%+v, want %+v", sum.Counts, want)
	}
	if slices.ContainsFunc(l.events, func(e Event) bool { return e.Err != nil }) {
		t.Errorf("%+v", l.events)
	}
}
