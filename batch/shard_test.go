package batch

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Of several that do a shard at once one result remains, whatever the kind of store.
func TestDoShardRace(t *testing.T) {
	for _, location := range []string{t.TempDir(), fakeS3(t)} {
		const n = 200
		st, p := makePlan(t, location, n, 50)
		var did, calls atomic.Int64
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				// The one pads its rows: their bytes are not the same.
				j := &stub{Slow: 20 * time.Millisecond, Pad: i % 2}
				for index := range p.Shards {
					_, done, err := DoShard(context.Background(), st, p, index, j)
					if err != nil {
						t.Error(err)
					}
					if done {
						did.Add(1)
					}
				}
				calls.Add(j.calls.Load())
			})
		}
		wg.Wait()
		t.Logf("%s: %d shards done %d times", location, p.Shards, calls.Load())
		if did.Load() != int64(p.Shards) {
			t.Errorf("%s: %d results of %d shards", location, did.Load(), p.Shards)
		}
		checkDone(t, st, p, n)
	}
}

// What is wrong with a job is its shard's error, and leaves nothing.
func TestBadJob(t *testing.T) {
	st, p := makePlan(t, t.TempDir(), 100, 10)
	for what, c := range map[string]Counts{"want 10": {Rows: 9, OK: 9}, "do not add up": {Rows: 10, OK: 8}} {
		_, did, err := DoShard(t.Context(), st, p, 0, counting(c))
		if did || err == nil || isStore(err) || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, %v, want that %s", did, err, what)
		}
	}
	if _, _, err := DoShard(t.Context(), st, p, 0, &stub{Fail: 1}); err == nil || isStore(err) {
		t.Error(err)
	}
	s, err := Finalize(t.Context(), st, p)
	if !errors.Is(err, ErrIncomplete) || s.Missing != 10 || !strings.Contains(err.Error(), "10 of 10 shards (0, 1, 2, 3, 4, ...)") {
		t.Errorf("%+v, %v", s, err)
	}
}

// counting is a job that counts as it likes.
type counting Counts

func (c counting) Do(context.Context, Shard, io.Writer) (Counts, error) { return Counts(c), nil }
func (c counting) GiveUp(context.Context, Shard, string, io.Writer) (Counts, error) {
	return Counts(c), nil
}

func doAll(t *testing.T, st *Store, p *Plan, j Job) {
	t.Helper()
	for i := range p.Shards {
		if _, _, err := DoShard(t.Context(), st, p, i, j); err != nil {
			t.Fatal(err)
		}
	}
}

// Counts that are lost are counted again, and those of other bytes are not believed.
func TestCounts(t *testing.T) {
	dir := t.TempDir()
	st, p := makePlan(t, dir, 100, 10)
	// Counts of workers that died before they wrote their result, of any size.
	for _, size := range []int64{1, 575} {
		if err := putCounts(t.Context(), st, p, counted{1, size, "0123456789abcdef", true, Counts{10, 0, 10, 0}}); err != nil {
			t.Fatal(err)
		}
	}
	doAll(t, st, p, &stub{})
	info, err := os.Stat(filepath.Join(dir, resultKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	putCounts(t.Context(), st, p, counted{1, info.Size(), "0123456789abcdef", true, Counts{10, 0, 10, 0}})
	first := checkDone(t, st, p, 100)
	time.Sleep(1100 * time.Millisecond)
	if again := checkDone(t, st, p, 100); again != first {
		t.Errorf("finalized again: %+v, first %+v", again, first)
	}
	if err := os.RemoveAll(filepath.Join(dir, countFolder)); err != nil {
		t.Fatal(err)
	}
	if _, err := Finalize(t.Context(), st, p); !errors.Is(err, ErrUncounted) {
		t.Errorf("without counts: %v", err)
	}
	if n, err := Recount(t.Context(), st, p, &stub{}); n != 10 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
	if again := checkDone(t, st, p, 100); again.Counts != first.Counts {
		t.Errorf("counted again: %+v, first %+v", again, first)
	}
	if _, err := os.Stat(filepath.Join(dir, drafts)); err == nil {
		t.Error("drafts are left")
	}
}

func TestRetryFailed(t *testing.T) {
	st, p := makePlan(t, t.TempDir(), 100, 10)
	for _, i := range []int{2, 5} {
		if _, did, err := GiveUpShard(t.Context(), st, p, i, &stub{}, "test"); !did || err != nil {
			t.Fatal(did, err)
		}
	}
	doAll(t, st, p, &stub{})
	checkDone(t, st, p, 100, 2, 5)
	if n, err := RetryFailed(t.Context(), st, p); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if ok, _ := st.exists(t.Context(), successKey); ok {
		t.Error("it looks done")
	}
	doAll(t, st, p, &stub{})
	checkDone(t, st, p, 100)
}

func TestCancelledStore(t *testing.T) {
	st, p := makePlan(t, t.TempDir(), 100, 10)
	if err := MarkCancelled(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	if _, _, err := DoShard(t.Context(), st, p, 0, &stub{}); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	if s, err := StatusOf(t.Context(), st, p); err != nil || !s.Cancelled || s.Complete() {
		t.Errorf("%+v, %v", s, err)
	}
	if err := Resume(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	doAll(t, st, p, &stub{})
	checkDone(t, st, p, 100)
}

func TestOpenStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)
	for location, what := range map[string]string{"": "no folder", file: "it is a file", "file://a/b": "three slashes", "s3://": "no bucket", "nothing://b": "nothing"} {
		if _, err := OpenStore(t.Context(), location); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: %v, want that %s", location, err, what)
		}
	}
}
