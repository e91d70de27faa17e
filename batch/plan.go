package batch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"
)

// planFormat is the newest that this program reads and writes.
const planFormat = 1

// The objects of a plan, beside the results.
const (
	planKey    = "plan.json"
	partFolder = "plan/"
)

// A Plan says what is to be done, with a listing that does not change any more. It
// may be used from several goroutines.
type Plan struct {
	Format int `json:"format"`
	// ID is a hash of the Spec and the listing: another model or another listing is
	// another plan.
	ID      string `json:"id"`
	Spec    `json:"spec"`
	Shards  int       `json:"shards"`
	Items   int64     `json:"items"`
	Created time.Time `json:"created"`
	Program string    `json:"program"` // that made it
	Parts   []Part    `json:"parts"`
	Sum     string    `json:"sum"` // of all the above, the ID's hash does not hold all of it

	mu      sync.Mutex
	index   []entry // of part indexed, read last
	indexed int
}

// A Part is an object with the names of up to 1024 shards, each of which can be read
// by itself.
type Part struct {
	Key    string `json:"key"`
	Size   int64  `json:"size"`
	Shards int    `json:"shards"`
	Items  int64  `json:"items"`
	Hash   string `json:"hash"` // of its shards' hashes
}

// identity returns the ID that the plan must have. How names are compressed and
// where they lie is no part of it.
func (p *Plan) identity() string {
	type part struct {
		Shards int    `json:"shards"`
		Items  int64  `json:"items"`
		Hash   string `json:"hash"`
	}
	v := struct {
		Format int    `json:"format"`
		Spec   Spec   `json:"spec"`
		Shards int    `json:"shards"`
		Items  int64  `json:"items"`
		Parts  []part `json:"parts"`
	}{p.Format, p.Spec, p.Shards, p.Items, nil}
	if len(v.Spec.Options) == 0 {
		v.Spec.Options = nil
	}
	for _, x := range p.Parts {
		v.Parts = append(v.Parts, part{x.Shards, x.Items, x.Hash})
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it holds strings and numbers alone
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:10])
}

// checksum returns what Sum must be.
func (p *Plan) checksum() string {
	sum := p.Sum
	p.Sum = ""
	text, err := json.Marshal(p)
	p.Sum = sum
	if err != nil {
		panic(err)
	}
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:10])
}

func (s Spec) check() error {
	switch {
	case s.Output == "":
		return errors.New("batch: make plan: no output is given")
	case s.Digest == "":
		return errors.New("batch: make plan: the digest of the model is missing")
	case s.Kind != Images && s.Kind != Archives:
		return fmt.Errorf("batch: make plan: kind is %q, want %s or %s", s.Kind, Images, Archives)
	case s.ShardSize < 1:
		return fmt.Errorf("batch: make plan: a shard of %d items, want at least 1", s.ShardSize)
	case s.ShardSize > maxShard:
		return fmt.Errorf("batch: make plan: a shard of %d items, want at most %d", s.ShardSize, maxShard)
	case s.Kind == Archives && s.ShardSize != 1:
		return fmt.Errorf("batch: make plan: a shard of %d archives, want 1", s.ShardSize)
	}
	return nil
}

// differs names what is not the same in two specs, "" if nothing is.
func (s Spec) differs(t Spec) string {
	for _, f := range []struct{ name, a, b string }{
		{"input", s.Input, t.Input}, {"output", s.Output, t.Output}, {"model", s.Model, t.Model},
		{"digest", s.Digest, t.Digest}, {"shard size", fmt.Sprint(s.ShardSize), fmt.Sprint(t.ShardSize)}, {"kind", s.Kind, t.Kind},
	} {
		if f.a != f.b {
			return fmt.Sprintf("its %s is %q, now %q", f.name, f.a, f.b)
		}
	}
	if !maps.Equal(s.Options, t.Options) {
		return fmt.Sprintf("its options are %v, now %v", s.Options, t.Options)
	}
	return ""
}

func otherPlan(st *Store, differs string) error {
	return fmt.Errorf("batch: make plan: %s: %w: %s: give another output, or remove what is there", st.URL, ErrOtherPlan, differs)
}

// OpenPlan reads the plan of a store.
func OpenPlan(ctx context.Context, st *Store) (*Plan, error) {
	text, err := st.read(ctx, planKey, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("batch: open plan of %s: %w", st.URL, ErrNoPlan)
	}
	if err != nil {
		return nil, fmt.Errorf("batch: open plan of %s: %w: %w", st.URL, ErrStore, err)
	}
	p := new(Plan)
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(p); err != nil {
		return nil, fmt.Errorf("batch: open plan of %s: %w: %s: %w", st.URL, ErrDamaged, planKey, err)
	}
	if p.Format > planFormat {
		return nil, fmt.Errorf("batch: open plan of %s: its format is %d, this program knows %d: use the program that made it, %s", st.URL, p.Format, planFormat, p.Program)
	}
	if p.identity() != p.ID || p.checksum() != p.Sum || !p.adds() {
		return nil, fmt.Errorf("batch: open plan of %s: %w: what %s says does not match its id %s", st.URL, ErrDamaged, planKey, p.ID)
	}
	p.indexed = -1
	return p, nil
}

// adds says whether the numbers of a plan fit each other.
func (p *Plan) adds() bool {
	if p.ShardSize < 1 || p.ShardSize > maxShard {
		return false
	}
	shards, items := 0, int64(0)
	for _, x := range p.Parts {
		if x.Shards < 1 || x.Shards > partShards || x.Items < int64(x.Shards) || x.Size < int64(x.Shards)*entrySize {
			return false
		}
		shards += x.Shards
		items += x.Items
	}
	return p.Shards == shards && p.Items == items && int64(p.Shards) == (p.Items+int64(p.ShardSize)-1)/int64(p.ShardSize)
}

// size returns how many items a shard has.
func (p *Plan) size(index int) int64 {
	return min(int64(p.ShardSize), p.Items-int64(index)*int64(p.ShardSize))
}

// Shard reads the names of a shard. An error of the store wraps ErrStore, and names
// that are not those of the plan ErrDamaged as well.
func (p *Plan) Shard(ctx context.Context, st *Store, index int) (Shard, error) {
	s := Shard{Plan: p, Index: index, First: int64(index) * int64(p.ShardSize)}
	if index < 0 || index >= p.Shards {
		return s, fmt.Errorf("batch: plan %s has no shard %d: they are 0 to %d", p.ID, index, p.Shards-1)
	}
	number, first := 0, 0
	for index >= first+p.Parts[number].Shards {
		first += p.Parts[number].Shards
		number++
	}
	entries, err := p.partIndex(ctx, st, number)
	if err == nil {
		e := entries[index-first]
		var packed []byte
		if packed, err = st.read(ctx, p.Parts[number].Key, e.off, e.length); err == nil {
			s.Items, err = unpack(packed, e)
		}
		if err == nil && int64(len(s.Items)) != p.size(index) {
			err = fmt.Errorf("%w: %d names, want %d", ErrDamaged, len(s.Items), p.size(index))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return s, fmt.Errorf("batch: read names of shard %d from %s of %s: %w: %w", index, p.Parts[number].Key, st.URL, ErrStore, err)
	}
	return s, nil
}

// partIndex returns where the names of a part's shards lie.
func (p *Plan) partIndex(ctx context.Context, st *Store, number int) ([]entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.indexed == number {
		return p.index, nil
	}
	x := p.Parts[number]
	n := int64(x.Shards) * entrySize
	data, err := st.read(ctx, x.Key, x.Size-n, n)
	if err != nil {
		return nil, err
	}
	entries, err := readIndex(data, x)
	if err != nil {
		return nil, err
	}
	p.index, p.indexed = entries, number
	return entries, nil
}
