package batch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Summary says what came of a plan.
type Summary struct {
	Plan    string `json:"plan"`
	Shards  int    `json:"shards"`
	Missing int    `json:"missing,omitempty"` // shards without a result
	Failed  int    `json:"failed_shards"`     // whose rows say that the shard failed
	Items   int64  `json:"items"`
	Counts
	Finished time.Time `json:"finished"`
}

// A tally is what lies in a store of a plan's results.
type tally struct {
	p      *Plan
	size   []int64 // of each shard's result, -1 where there is none
	done   int
	counts map[int][]counted
}

// has says whether a shard has a result.
func (t *tally) has(index int) bool { return t.size[index] >= 0 }

// missing yields the shards without a result.
func (t *tally) missing() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, n := range t.size {
			if n < 0 && !yield(i) {
				return
			}
		}
	}
}

// listResults lists the results of a plan, and their counts if those are wanted.
func listResults(ctx context.Context, st *Store, p *Plan, counts bool) (*tally, error) {
	t := &tally{p: p, size: make([]int64, p.Shards), counts: map[int][]counted{}}
	for i := range t.size {
		t.size[i] = -1
	}
	g, ctx := errgroup.WithContext(ctx)
	each := func(folder string, f func(object)) {
		g.Go(func() error {
			for o, err := range st.list(ctx, folder) {
				if err != nil {
					return fmt.Errorf("batch: list %s of %s: %w: %w", folder, st.URL, ErrStore, err)
				}
				f(o)
			}
			return nil
		})
	}
	each(resultFolder, func(o object) {
		if i, ok := resultIndex(o.key); ok && i < p.Shards && !t.has(i) {
			t.size[i] = o.size
			t.done++
		}
	})
	if counts {
		each(countFolder, func(o object) {
			if c, ok := readCounted(o.key); ok && c.index < p.Shards {
				t.counts[c.index] = append(t.counts[c.index], c)
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return t, nil
}

// count returns what the result of a shard holds; ok is false where that is not known.
func (t *tally) count(ctx context.Context, st *Store, index int) (c counted, ok bool, err error) {
	about := slices.DeleteFunc(slices.Clone(t.counts[index]), func(c counted) bool { return c.size != t.size[index] })
	if len(about) == 1 {
		return about[0], true, nil
	}
	if len(about) == 0 {
		return c, false, nil
	}
	// Two workers wrote as many bytes, but not the same.
	r, err := st.Open(ctx, resultKey(index))
	if err != nil {
		return c, false, err
	}
	defer r.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return c, false, fmt.Errorf("batch: read %s of %s: %w", resultKey(index), st.URL, err)
	}
	want := hex.EncodeToString(sum.Sum(nil)[:8])
	i := slices.IndexFunc(about, func(c counted) bool { return c.hash == want })
	if i < 0 {
		return c, false, nil
	}
	return about[i], true, nil
}

// sum adds up what is done, and returns the shards that have no counts.
func (t *tally) sum(ctx context.Context, st *Store) (s Summary, uncounted []int, err error) {
	s = Summary{Plan: t.p.ID, Shards: t.p.Shards, Items: t.p.Items, Missing: t.p.Shards - t.done}
	for i := range t.size {
		if !t.has(i) {
			continue
		}
		c, ok, err := t.count(ctx, st, i)
		if err != nil {
			return s, nil, err
		}
		if !ok {
			uncounted = append(uncounted, i)
			continue
		}
		if err := c.check(t.p, i); err != nil {
			return s, nil, fmt.Errorf("batch: %s of %s: %w: remove it and its result, and submit the plan again", c.key(), st.URL, err)
		}
		if c.failed {
			s.Failed++
		}
		s.add(c.Counts)
	}
	return s, uncounted, nil
}

// some writes the first of many numbers.
func some(numbers []int) string {
	var b strings.Builder
	for i, n := range numbers {
		if i == 5 {
			b.WriteString(", ...")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}

// Finalize says what came of a plan, and marks it as done with _SUCCESS.json, if all
// its shards have a result. If not the error wraps ErrIncomplete, and the summary is
// of what is done. Nothing in a queue matters here.
func Finalize(ctx context.Context, st *Store, p *Plan) (Summary, error) {
	t, err := listResults(ctx, st, p, true)
	if err != nil {
		return Summary{}, err
	}
	s, uncounted, err := t.sum(ctx, st)
	if err != nil {
		return s, err
	}
	if s.Missing > 0 {
		if err := st.removeIfThere(ctx, successKey); err != nil {
			return s, err
		}
		return s, fmt.Errorf("batch: plan %s in %s: %w: %d of %d shards (%s): submit it again", p.ID, st.URL, ErrIncomplete, s.Missing, s.Shards, some(slices.Collect(t.missing())))
	}
	if len(uncounted) > 0 {
		return s, fmt.Errorf("batch: plan %s in %s: %w: of %d shards (%s)", p.ID, st.URL, ErrUncounted, len(uncounted), some(uncounted))
	}
	defer st.sweep()
	if text, err := st.read(ctx, successKey, 0, -1); err == nil {
		was := Summary{}
		if json.Unmarshal(text, &was) == nil {
			s.Finished = was.Finished
			if was == s {
				return s, nil
			}
		}
	}
	s.Finished = time.Now().UTC().Truncate(time.Second)
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return s, err
	}
	if _, err := st.put(ctx, successKey, append(text, '\n'), false); err != nil {
		return s, err
	}
	return s, nil
}

// Results yields the keys of a plan's results, in the order of the shards.
func Results(ctx context.Context, st *Store, p *Plan) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		t, err := listResults(ctx, st, p, false)
		if err != nil {
			yield("", err)
			return
		}
		for i := range t.size {
			if t.has(i) && !yield(resultKey(i), nil) {
				return
			}
		}
	}
}

// Recount makes the counts again that are missing, from the results, and returns how
// many. Whether a shard failed cannot be told from its rows: it counts as one that
// did not.
func Recount(ctx context.Context, st *Store, p *Plan, j Recounter) (int, error) {
	t, err := listResults(ctx, st, p, true)
	if err != nil {
		return 0, err
	}
	_, uncounted, err := t.sum(ctx, st)
	if err != nil {
		return 0, err
	}
	for n, i := range uncounted {
		if err := recount(ctx, st, p, i, j); err != nil {
			return n, fmt.Errorf("batch: count %s of %s: %w", resultKey(i), st.URL, err)
		}
	}
	return len(uncounted), nil
}

func recount(ctx context.Context, st *Store, p *Plan, index int, j Recounter) error {
	s, err := p.Shard(ctx, st, index)
	if err != nil {
		return err
	}
	r, err := st.open(ctx, resultKey(index))
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.CreateTemp("", "nlnctl-batch-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, sum), r)
	if err != nil {
		return err
	}
	counts, err := j.Recount(ctx, s, f, size)
	if err == nil {
		err = counts.check(p, index)
	}
	if err != nil {
		return err
	}
	return putCounts(ctx, st, p, counted{index, size, hex.EncodeToString(sum.Sum(nil)[:8]), false, counts})
}

// RetryFailed removes the results of shards whose rows say that the shard failed, and
// returns how many: they are missing then, and Submit queues them.
func RetryFailed(ctx context.Context, st *Store, p *Plan) (int, error) {
	t, err := listResults(ctx, st, p, true)
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range t.size {
		if !t.has(i) {
			continue
		}
		c, ok, err := t.count(ctx, st, i)
		if err != nil {
			return n, err
		}
		if !ok || !c.failed {
			continue
		}
		if n == 0 { // what is not complete any more must not look so
			if err := st.removeIfThere(ctx, successKey); err != nil {
				return n, err
			}
		}
		if err := cmp.Or(st.removeIfThere(ctx, resultKey(i)), st.removeIfThere(ctx, c.key())); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// isStore says whether an error is not about a shard, but about what it is read from
// or written to.
func isStore(err error) bool { return errors.Is(err, ErrStore) }
