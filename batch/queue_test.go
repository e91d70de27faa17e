package batch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// log keeps events.
type log struct {
	mu     sync.Mutex
	events []Event
}

func (l *log) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) count(kind EventKind) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range l.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestRun(t *testing.T) {
	alone(t)
	dir, queue := t.TempDir(), t.TempDir()
	st, p := makePlan(t, dir, 1000, 10)
	q := embed(t, queue)
	if _, err := Embed(queue); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	var l log
	o := WorkOptions{Open: opener(&stub{}), Progress: l.add}
	s, err := q.Run(t.Context(), st, p, o, o)
	if err != nil {
		t.Fatal(err)
	}
	if have := checkDone(t, st, p, 1000); have != s || l.count(Done) != 100 {
		t.Errorf("%+v, %+v, %d done", s, have, l.count(Done))
	}
	// Results that vanish are made again; their counts of before do not matter.
	for _, i := range []int{0, 57, 99} {
		os.Remove(filepath.Join(dir, resultKey(i)))
	}
	if _, err := Finalize(t.Context(), st, p); !errors.Is(err, ErrIncomplete) {
		t.Error(err)
	}
	if n, err := q.Submit(t.Context(), st, p); n != 3 || err != nil {
		t.Errorf("queued %d, %v", n, err)
	}
	if n, err := q.Submit(t.Context(), st, p); n != 0 || err != nil {
		t.Errorf("queued %d again, %v", n, err)
	}
	if status, err := q.Status(t.Context(), st, p); err != nil || status.Queued != 3 || status.Done != 97 || status.Rows != 970 {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := q.Run(t.Context(), st, p, o); err != nil {
		t.Fatal(err)
	}
	checkDone(t, st, p, 1000)
	// The queue's files are lost between two runs.
	q.Close()
	os.RemoveAll(queue)
	for i := range 20 {
		os.Remove(filepath.Join(dir, resultKey(i)))
	}
	q = embed(t, queue)
	if _, err := q.Run(t.Context(), st, p, o); err != nil {
		t.Fatal(err)
	}
	checkDone(t, st, p, 1000)
	if have := l.count(Done); have != 123 || l.count(Trouble) != 0 {
		t.Errorf("%d done, trouble %d", have, l.count(Trouble))
	}
}

// Two processes that submit at once queue each shard once.
func TestSubmitsAtOnce(t *testing.T) {
	st, p := makePlan(t, t.TempDir(), 200, 1)
	q := embed(t, t.TempDir())
	var wg sync.WaitGroup
	var n [3]int
	for i := range n {
		wg.Go(func() {
			var err error
			if n[i], err = q.Submit(context.Background(), st, p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n[0]+n[1]+n[2] != 200 {
		t.Errorf("queued %v", n)
	}
	var l log
	if err := q.Work(t.Context(), WorkOptions{Open: opener(&stub{}), Progress: l.add, Drain: true}); err != nil {
		t.Fatal(err)
	}
	if l.count(Done) != 200 || l.count(WasThere) != 0 {
		t.Errorf("%d done, %d were there", l.count(Done), l.count(WasThere))
	}
	checkDone(t, st, p, 200)
}

// Workers for all plans do all, and know what they may have open.
func TestSeveralPlans(t *testing.T) {
	alone(t)
	q := embed(t, t.TempDir())
	const n = 3
	var st [n]*Store
	var p [n]*Plan
	for i := range n {
		st[i], p[i] = makePlan(t, t.TempDir(), 100*(i+1), 10)
		if _, err := q.Submit(t.Context(), st[i], p[i]); err != nil {
			t.Fatal(err)
		}
	}
	var l log
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := q.Work(ctx, WorkOptions{Open: opener(&stub{}), Progress: l.add}); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range n {
		if s, err := q.Watch(t.Context(), st[i], p[i], WatchOptions{Every: 50 * time.Millisecond}); err != nil || !s.Complete() {
			t.Fatal(s, err)
		}
		checkDone(t, st[i], p[i], 100*(i+1))
		if err := q.Clear(t.Context(), p[i]); err != nil {
			t.Error(err)
		}
	}
	if s, err := q.Status(t.Context(), st[0], p[0]); err != nil || len(s.Workers) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	cancel()
	wg.Wait()
	if l.count(Done) != 60 {
		t.Errorf("%d done", l.count(Done))
	}
	if s, err := q.Status(t.Context(), st[0], p[0]); err != nil || len(s.Workers) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// What a shard may do to its worker, and what becomes of it.
func TestFailures(t *testing.T) {
	alone(t)
	const n = 100
	over := make(chan struct{})
	for what, c := range map[string]struct {
		stub   *stub
		failed []int
		hung   bool
	}{
		"an error":         {&stub{Fail: 4}, []int{3}, false},
		"it does not end":  {&stub{Hang: 4}, []int{3}, false},
		"it does not hear": {&stub{Hang: 4, Deaf: true, over: over}, nil, true},
	} {
		st, p := makePlan(t, t.TempDir(), n, 10)
		q := embed(t, t.TempDir())
		var l log
		o := WorkOptions{Open: opener(c.stub), Progress: l.add, Lease: 200 * time.Millisecond, MaxTries: 2, ShardTimeout: 150 * time.Millisecond, hang: 100 * time.Millisecond}
		_, err := q.Run(t.Context(), st, p, o)
		if c.hung != errors.Is(err, ErrHung) || !c.hung && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if c.hung {
			// The process would end, and others be there.
			o.Open = opener(&stub{})
			if _, err := q.Run(t.Context(), st, p, o); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		} else if l.count(Failed) != 1 || l.count(GaveUp) != 1 {
			t.Errorf("%s: %+v", what, l.events)
		}
		checkDone(t, st, p, n, c.failed...)
		q.Close()
	}
	close(over)
}

// A worker that ends hands its shard back at once, and that is no try.
func TestHandBack(t *testing.T) {
	alone(t)
	st, p := makePlan(t, t.TempDir(), 10, 10)
	q := embed(t, t.TempDir())
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	var l log
	for range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		o := WorkOptions{Open: opener(&stub{Slow: time.Hour}), MaxTries: 2, Progress: func(e Event) {
			l.add(e)
			if e.Kind == Started {
				time.AfterFunc(50*time.Millisecond, cancel)
			}
		}}
		if err := q.Work(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	// Within its grace a shard comes to its end.
	ctx, cancel := context.WithCancel(t.Context())
	o := WorkOptions{Open: opener(&stub{Slow: 100 * time.Millisecond}), MaxTries: 2, Grace: time.Minute, Progress: func(e Event) {
		l.add(e)
		cancel()
	}}
	if err := q.Work(ctx, o); err != nil {
		t.Fatal(err)
	}
	if l.count(Started) != 5 || l.count(Returned) != 4 || l.count(Done) != 1 || slices.ContainsFunc(l.events, func(e Event) bool { return e.Try != 1 }) {
		t.Errorf("%+v", l.events)
	}
	checkDone(t, st, p, 10)
}

func TestCancel(t *testing.T) {
	alone(t)
	st, p := makePlan(t, t.TempDir(), 40, 1)
	q := embed(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var l log
	var wg sync.WaitGroup
	wg.Go(func() {
		q.Work(ctx, WorkOptions{Open: opener(&stub{Slow: 20 * time.Millisecond}), Progress: l.add})
	})
	if _, err := q.Submit(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	until(t, "five shards", func() bool { return l.count(Done) >= 5 })
	if err := q.Cancel(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	s, err := q.Watch(t.Context(), st, p, WatchOptions{Every: time.Millisecond, Resubmit: true})
	if !errors.Is(err, ErrCancelled) || s.Queued != 0 || s.Complete() {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := q.Submit(t.Context(), st, p); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	if err := Resume(t.Context(), st, p); err != nil {
		t.Fatal(err)
	}
	if s, err := q.Watch(t.Context(), st, p, WatchOptions{Every: time.Millisecond, Resubmit: true}); err != nil || !s.Complete() {
		t.Errorf("%+v, %v", s, err)
	}
	cancel()
	wg.Wait()
	checkDone(t, st, p, 40)
}

// What a worker cannot open costs no try.
func TestCannotOpen(t *testing.T) {
	st, p := makePlan(t, t.TempDir(), 30, 10)
	q := embed(t, t.TempDir())
	o := WorkOptions{Lease: 50 * time.Millisecond, MaxTries: 1, Open: func(context.Context, string) (*Plan, *Store, Job, error) {
		return nil, nil, nil, errors.New("there is no model")
	}}
	if _, err := q.Run(t.Context(), st, p, o); err == nil || !strings.Contains(err.Error(), "there is no model") {
		t.Error(err)
	}
	o.Open = opener(&stub{})
	if _, err := q.Run(t.Context(), st, p, o); err != nil {
		t.Error(err)
	}
	checkDone(t, st, p, 30)
}

func TestConnectErrors(t *testing.T) {
	for what, o := range map[string]QueueOptions{
		"no URL is given":                  {},
		"connect to queue nats://u:xxxxx@": {URL: "nats://u:secret@127.0.0.1:1"},
		"has a dot":                        {URL: "nats://127.0.0.1:1", Prefix: "a.b"},
		"belong together":                  {URL: "nats://127.0.0.1:1", Cert: "x"},
		"read credentials":                 {URL: "nats://127.0.0.1:1", Creds: "/nowhere"},
		"read NKey seed":                   {URL: "nats://127.0.0.1:1", NKey: "/nowhere"},
	} {
		if _, err := Connect(t.Context(), o); err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want that %s", err, what)
		}
	}
}

// A folder that holds no queue is an error at once, which prints nothing.
func TestEmbedErrors(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "jetstream"), []byte("x"), 0o644)
	began := time.Now()
	if _, err := Embed(dir); err == nil || !strings.Contains(err.Error(), "move the folder away") {
		t.Error(err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	file := filepath.Join(dir, "jetstream")
	if _, err := Embed(file); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Error(err)
	}
	os.Remove(file)
	embed(t, dir).Close() // the lock is free
}

func TestRate(t *testing.T) {
	var r rate
	now := time.Unix(0, 0)
	have := 0.0
	for i := range 20 {
		have = r.at(now.Add(time.Duration(i)*5*time.Second), int64(i*50))
	}
	if have < 9.9 || have > 10.1 || len(r.samples) > 9 {
		t.Errorf("%v images a second of %d samples, want 10", have, len(r.samples))
	}
	for i := range 20 {
		have = r.at(now.Add(time.Duration(100+i*5)*time.Second), 1000)
	}
	if have != 0 {
		t.Errorf("%v images a second of none", have)
	}
}
