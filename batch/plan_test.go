package batch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// All shards together are the listing, whatever the cut, and the last may be short.
func TestPlanIsTheListing(t *testing.T) {
	for _, c := range []struct{ n, size int }{{1, 1}, {10, 10}, {11, 10}, {2500, 1}, {5000, 7}} {
		st, p := makePlan(t, t.TempDir(), c.n, c.size)
		var have []string
		for i := range p.Shards {
			s, err := p.Shard(t.Context(), st, i)
			if err != nil {
				t.Fatal(err)
			}
			if s.First != int64(len(have)) || s.Index != i {
				t.Errorf("%+v: shard %d begins at %d, want %d", c, i, s.First, len(have))
			}
			have = append(have, s.Items...)
		}
		var want []string
		for name := range names(c.n) {
			want = append(want, name)
		}
		if !slices.Equal(have, want) {
			t.Errorf("%+v: the names are not those listed", c)
		}
		for _, i := range []int{-1, p.Shards} {
			if _, err := p.Shard(t.Context(), st, i); err == nil {
				t.Errorf("%+v: there is a shard %d", c, i)
			}
		}
	}
}

// The same spec and listing make the same plan, anything else another one.
func TestPlanIdentity(t *testing.T) {
	ids := map[string]string{}
	add := func(what string, n int, change func(*Spec)) {
		t.Helper()
		st, err := OpenStore(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := spec("out", 10)
		change(&s)
		p, err := MakePlan(t.Context(), st, s, names(n), "test "+what)
		if err != nil {
			t.Fatal(err)
		}
		if was := ids[p.ID]; was != "" {
			t.Errorf("%s is the plan of %s", what, was)
		}
		ids[p.ID] = what
		if q, err := OpenPlan(t.Context(), st); err != nil || q.ID != p.ID || q.Items != int64(n) {
			t.Errorf("%s: opened again: %+v, %v", what, q, err)
		}
		if q, err := MakePlan(t.Context(), st, s, names(n), "another program"); err != nil || q.ID != p.ID || q.Program != "test "+what {
			t.Errorf("%s: made again: %+v, %v", what, q, err)
		}
	}
	add("the first", 100, func(s *Spec) {})
	add("a longer listing", 101, func(s *Spec) {})
	add("another model", 100, func(s *Spec) { s.Digest = "abd" })
	add("larger shards", 100, func(s *Spec) { s.ShardSize = 11 })
	add("another output", 100, func(s *Spec) { s.Output = "there" })
	add("another option", 100, func(s *Spec) { s.Options = map[string]string{"k": "6"} })
}

func TestOtherPlan(t *testing.T) {
	st, p := makePlan(t, t.TempDir(), 100, 10)
	s := p.Spec
	s.Digest = "other"
	for what, err := range map[string]error{
		`its digest is "abc", now "other"`: second(MakePlan(t.Context(), st, s, names(100), "test")),
		"it had 100 items, now 99":         second(MakePlan(t.Context(), st, p.Spec, names(99), "test")),
	} {
		if !errors.Is(err, ErrOtherPlan) || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want that %s", err, what)
		}
	}
	empty, _ := OpenStore(t.Context(), filepath.Join(t.TempDir(), "new", "folder"))
	if _, err := OpenPlan(t.Context(), empty); !errors.Is(err, ErrNoPlan) {
		t.Errorf("open nothing: %v", err)
	}
	for what, err := range map[string]error{
		"nothing is listed": second(MakePlan(t.Context(), empty, p.Spec, names(0), "")),
		"the disk is gone":  second(MakePlan(t.Context(), empty, p.Spec, func(yield func(string, error) bool) { yield("", errors.New("the disk is gone")) }, "")),
		"has no name":       second(MakePlan(t.Context(), empty, p.Spec, func(yield func(string, error) bool) { yield("", nil) }, "")),
		"want 1":            second(MakePlan(t.Context(), empty, Spec{Output: "o", Digest: "d", Kind: Archives, ShardSize: 2}, names(1), "")),
		"digest":            second(MakePlan(t.Context(), empty, Spec{Output: "o", Kind: Images, ShardSize: 2}, names(1), "")),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want that %s", err, what)
		}
	}
	if _, err := OpenPlan(t.Context(), empty); !errors.Is(err, ErrNoPlan) {
		t.Errorf("a plan that failed is there: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// Two that make the same plan at once get the same, and of two plans one wins.
func TestPlansAtOnce(t *testing.T) {
	for _, same := range []bool{true, false} {
		dir := t.TempDir()
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wg.Go(func() {
				st, err := OpenStore(context.Background(), dir)
				if err != nil {
					errs[i] = err
					return
				}
				n := 3000
				if !same {
					n += i
				}
				_, errs[i] = MakePlan(context.Background(), st, spec(dir, 2), names(n), "test")
			})
		}
		wg.Wait()
		good := 0
		for _, err := range errs {
			if err == nil {
				good++
			} else if !errors.Is(err, ErrOtherPlan) {
				t.Error(err)
			}
		}
		if want := map[bool]int{true: 4, false: 1}[same]; good != want {
			t.Errorf("same %v: %d plans, want %d: %v", same, good, want, errs)
		}
	}
}

// A byte changed in any object of a plan is noticed, or changes nothing.
func TestDamagedPlan(t *testing.T) {
	dir := t.TempDir()
	_, p := makePlan(t, dir, 300, 100)
	read := func() error {
		st, _ := OpenStore(t.Context(), dir)
		q, err := OpenPlan(t.Context(), st)
		if err != nil {
			return err
		}
		for i := range q.Shards {
			s, err := q.Shard(t.Context(), st, i)
			if err != nil {
				return err
			}
			if s.Items[0] == "" || q.ID != p.ID {
				return errors.New("another plan was read")
			}
		}
		return nil
	}
	for _, key := range []string{planKey, p.Parts[0].Key} {
		file := filepath.Join(dir, key)
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		noticed := 0
		for i := 0; i < len(good); i += 1 + len(good)/200 {
			bad := slices.Clone(good)
			bad[i] ^= 0x11
			os.WriteFile(file, bad, 0o644)
			if err := read(); err != nil {
				noticed++
				if !errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), "its format is") {
					t.Fatalf("%s, byte %d: %v", key, i, err)
				}
			}
			os.WriteFile(file, good[:i], 0o644)
			whole := i == len(bytes.TrimSpace(good)) // but for the end of its line
			if err := read(); err == nil && !whole {
				t.Fatalf("%s: cut at byte %d it is read", key, i)
			}
		}
		if noticed < 100 {
			t.Errorf("%s: %d changes were noticed", key, noticed)
		}
		os.Remove(file)
		if err := read(); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoPlan) {
			t.Errorf("%s is gone: %v", key, err)
		}
		os.WriteFile(file, good, 0o644)
	}
	if err := read(); err != nil {
		t.Error(err)
	}
}

// A long listing passes through little memory.
func TestLongListing(t *testing.T) {
	const n, most = 1_000_000, 64 << 20
	dir := t.TempDir()
	st, err := OpenStore(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	peak, read := uint64(0), 0
	began := time.Now()
	p, err := MakePlan(t.Context(), st, spec(dir, 16384), func(yield func(string, error) bool) {
		for name, err := range names(n) {
			if read++; read%50_000 == 0 {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
			}
			if !yield(name, err) {
				return
			}
		}
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, x := range p.Parts {
		size += x.Size
	}
	t.Logf("%d names in %v: %d parts, %d bytes, heap grew by at most %d kB", n, time.Since(began), len(p.Parts), size, peak>>10)
	if peak > most {
		t.Errorf("the heap grew by %d bytes, want at most %d", peak, most)
	}
	s, err := p.Shard(t.Context(), st, p.Shards-1)
	if err != nil || s.First+int64(len(s.Items)) != n {
		t.Errorf("the last shard: %d from %d, %v", len(s.Items), s.First, err)
	}
}
