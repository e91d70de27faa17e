package batch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"
)

// The folders of results and of what they hold.
const (
	resultFolder = "results/"
	countFolder  = "counts/"
)

// Marks on a store.
const (
	cancelKey  = "_CANCELLED.json"
	successKey = "_SUCCESS.json"
)

// resultKey returns the key of a shard's result.
func resultKey(index int) string { return fmt.Sprintf("%spart-%06d.parquet", resultFolder, index) }

// resultIndex returns the shard whose result a key is.
func resultIndex(key string) (int, bool) {
	number, ok := strings.CutSuffix(strings.TrimPrefix(key, resultFolder+"part-"), ".parquet")
	index, err := strconv.Atoi(number)
	return index, ok && err == nil && index >= 0 && resultKey(index) == key
}

// counted is what the counts of a shard say, in the name of their object: to list
// them is to read them, at a thousand a request. The object is written before the
// result, so that no result is without, and names the bytes it is about: where two
// workers wrote different ones, it can be seen which the result is.
type counted struct {
	index  int
	size   int64  // of the result
	hash   string // of it
	failed bool   // its rows say that the shard failed
	Counts
}

func (c counted) key() string {
	kind := "done"
	if c.failed {
		kind = "failed"
	}
	return fmt.Sprintf("%spart-%06d.%d.%s.%d.%d.%d.%s.json", countFolder, c.index, c.size, c.hash, c.OK, c.Bad, c.Novel, kind)
}

func readCounted(key string) (counted, bool) {
	var c counted
	fields := strings.Split(strings.TrimPrefix(key, countFolder+"part-"), ".")
	if len(fields) != 8 {
		return c, false
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(fields[i], 10, 64); return n }
	c = counted{index: int(number(0)), size: number(1), hash: fields[2], failed: fields[6] == "failed"}
	c.Counts = Counts{OK: number(3), Bad: number(4), Novel: number(5)}
	c.Rows = c.OK + c.Bad
	return c, c.key() == key
}

// check says whether counts add up. A shard of images has a row for each.
func (c Counts) check(p *Plan, index int) error {
	switch {
	case c.OK < 0 || c.Bad < 0 || c.Novel < 0 || c.OK+c.Bad != c.Rows || c.Novel > c.Rows:
		return fmt.Errorf("the counts of shard %d do not add up: %d rows, %d ok, %d bad, %d novel", index, c.Rows, c.OK, c.Bad, c.Novel)
	case p.Kind == Images && c.Rows != p.size(index):
		return fmt.Errorf("shard %d has %d rows, want %d", index, c.Rows, p.size(index))
	}
	return nil
}

// DoShard does one shard, unless its result is there already: then did is false, and
// the counts are empty. An error that wraps ErrStore is not about the shard. Any
// number of processes may do the same shard at the same time; one result remains.
func DoShard(ctx context.Context, st *Store, p *Plan, index int, j Job) (c Counts, did bool, err error) {
	return commitShard(ctx, st, p, index, false, j.Do)
}

// GiveUpShard writes the result that says that a shard failed.
func GiveUpShard(ctx context.Context, st *Store, p *Plan, index int, j Job, reason string) (c Counts, did bool, err error) {
	return commitShard(ctx, st, p, index, true, func(ctx context.Context, s Shard, w io.Writer) (Counts, error) {
		return j.GiveUp(ctx, s, reason, w)
	})
}

func commitShard(ctx context.Context, st *Store, p *Plan, index int, failed bool, do func(context.Context, Shard, io.Writer) (Counts, error)) (Counts, bool, error) {
	fail := func(err error) (Counts, bool, error) { return Counts{}, false, err }
	if err := checkCancelled(ctx, st, p); err != nil {
		return fail(err)
	}
	there, err := st.exists(ctx, resultKey(index))
	if err != nil {
		return fail(fmt.Errorf("batch: look for %s in %s: %w: %w", resultKey(index), st.URL, ErrStore, err))
	}
	if there {
		return Counts{}, false, nil
	}
	s, err := p.Shard(ctx, st, index)
	if err != nil {
		return fail(err)
	}
	d, err := st.draft()
	if err != nil {
		return fail(err)
	}
	defer d.discard()
	w := &hashed{w: d, hash: sha256.New()}
	counts, err := do(ctx, s, w)
	if d.err != nil {
		// Whatever the job makes of it, that is why it failed.
		return fail(fmt.Errorf("batch: write the result of shard %d: %w: %w", index, ErrStore, d.err))
	}
	if err == nil {
		err = counts.check(p, index)
	}
	if err != nil {
		return fail(fmt.Errorf("batch: shard %d: %w", index, err))
	}
	told := counted{index, d.n, hex.EncodeToString(w.hash.Sum(nil)[:8]), failed, counts}
	if err := putCounts(ctx, st, p, told); err != nil {
		return fail(err)
	}
	created, err := d.commit(ctx, resultKey(index), true)
	if err != nil {
		return fail(err)
	}
	if !created {
		return Counts{}, false, nil
	}
	return counts, true, nil
}

func putCounts(ctx context.Context, st *Store, p *Plan, c counted) error {
	text, err := json.Marshal(struct {
		Plan   string `json:"plan"`
		Shard  int    `json:"shard"`
		Failed bool   `json:"failed"`
		Counts
	}{p.ID, c.index, c.failed, c.Counts})
	if err != nil {
		return err
	}
	_, err = st.put(ctx, c.key(), append(text, '\n'), false)
	return err
}

// hashed hashes what is written through it.
type hashed struct {
	w    io.Writer
	hash hash.Hash
}

func (h *hashed) Write(p []byte) (int, error) {
	h.hash.Write(p)
	return h.w.Write(p)
}

// cancelMark is what the mark of a cancelled plan says.
type cancelMark struct {
	Plan string    `json:"plan"`
	Time time.Time `json:"time"`
}

// MarkCancelled marks a plan as cancelled: nothing is done of it any more, until
// Resume. What has a result keeps it.
func MarkCancelled(ctx context.Context, st *Store, p *Plan) error {
	text, err := json.Marshal(cancelMark{p.ID, time.Now().UTC()})
	if err != nil {
		return err
	}
	_, err = st.put(ctx, cancelKey, append(text, '\n'), false)
	return err
}

// Resume takes the mark of a cancelled plan away.
func Resume(ctx context.Context, st *Store, p *Plan) error { return st.removeIfThere(ctx, cancelKey) }

func checkCancelled(ctx context.Context, st *Store, p *Plan) error {
	there, err := st.exists(ctx, cancelKey)
	if err != nil {
		return fmt.Errorf("batch: look for %s in %s: %w: %w", cancelKey, st.URL, ErrStore, err)
	}
	if there {
		return fmt.Errorf("batch: plan %s in %s: %w", p.ID, st.URL, ErrCancelled)
	}
	return nil
}
