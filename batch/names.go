package batch

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"iter"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The names of a shard are one zstd frame: each name behind its length, a varint.
// A part is a row of frames with an index behind them. Neither limit below depends on
// how well names compress, so that the same listing makes the same parts.
const (
	partShards = 1024      // most shards of a part
	partBytes  = 256 << 20 // of names, behind which a part ends
	maxShard   = 1 << 24   // most items of a shard
	maxName    = 1 << 20   // most bytes of a name
	maxNames   = 1 << 31   // most bytes of a shard's names
)

// An entry says where the names of a shard lie in its part.
type entry struct {
	off, length int64
	items       int64
	hash        [sha256.Size]byte // of the names, not compressed
}

// entrySize is how many bytes an entry has: four of length and of items, eight of the
// offset, and the hash; little-endian.
const entrySize = 8 + 4 + 4 + sha256.Size

// MakePlan freezes a listing and cuts it into shards. The plan is whole once it
// returns; what a call leaves that did not come to its end is no plan. Where the same
// plan is there already it is returned; another one is an error that wraps
// ErrOtherPlan. Names are written as they come, so that a listing may be longer than
// there is memory for.
func MakePlan(ctx context.Context, st *Store, s Spec, items iter.Seq2[string, error], program string) (*Plan, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	there, err := OpenPlan(ctx, st)
	if err != nil && !errors.Is(err, ErrNoPlan) {
		return nil, err
	}
	w := &planWriter{ctx: ctx, st: st, hashed: sha256.New()}
	if there != nil {
		if d := there.differs(s); d != "" {
			return nil, otherPlan(st, d)
		}
		w.st = nil // only to see that the listing is the same
	} else if w.zip, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20)); err != nil {
		return nil, err
	}
	w.plan = &Plan{Format: planFormat, Spec: s, Created: time.Now().UTC().Truncate(time.Second), Program: program, indexed: -1}
	if err := w.addAll(items); err != nil {
		return nil, err
	}
	p := w.plan
	p.ID = p.identity()
	p.Sum = p.checksum()
	if there == nil {
		text, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			return nil, err
		}
		created, err := st.put(ctx, planKey, append(text, '\n'), true)
		if err != nil {
			return nil, err
		}
		if created {
			return p, nil
		}
		// Another call was faster.
		if there, err = OpenPlan(ctx, st); err != nil {
			return nil, err
		}
	}
	if there.ID != p.ID {
		if d := there.differs(s); d != "" {
			return nil, otherPlan(st, d)
		}
		return nil, otherPlan(st, fmt.Sprintf("the listing is not what it was: it had %d items, now %d", there.Items, p.Items))
	}
	return there, nil
}

// A planWriter cuts a listing.
type planWriter struct {
	ctx  context.Context
	st   *Store // nil where nothing is to be written
	zip  *zstd.Encoder
	plan *Plan

	names    []byte // of the shard at hand
	items    int64  // of it
	part     Part   // at hand
	bytes    int64  // of names of it
	draft    *draft
	hashed   hash.Hash // of the draft
	index    []byte
	packed   []byte
	shardSum []byte // the hashes of the part's shards
}

func (w *planWriter) addAll(items iter.Seq2[string, error]) error {
	defer func() {
		if w.draft != nil {
			w.draft.discard()
		}
	}()
	for name, err := range items {
		switch {
		case err != nil:
			return fmt.Errorf("batch: make plan: list %s: %w", w.plan.Input, err)
		case name == "":
			return fmt.Errorf("batch: make plan: list %s: item %d has no name", w.plan.Input, w.plan.Items+w.items)
		case len(name) > maxName:
			return fmt.Errorf("batch: make plan: list %s: the name of item %d has %d bytes, want at most %d", w.plan.Input, w.plan.Items+w.items, len(name), maxName)
		}
		w.names = binary.AppendUvarint(w.names, uint64(len(name)))
		w.names = append(w.names, name...)
		if len(w.names) > maxNames {
			return fmt.Errorf("batch: make plan: the names of shard %d have over %d bytes: make shards smaller", w.plan.Shards, maxNames)
		}
		if w.items++; w.items == int64(w.plan.ShardSize) {
			if err := w.endShard(); err != nil {
				return err
			}
		}
	}
	if w.items > 0 {
		if err := w.endShard(); err != nil {
			return err
		}
	}
	if err := w.endPart(); err != nil {
		return err
	}
	if w.plan.Items == 0 {
		return fmt.Errorf("batch: make plan: nothing is listed in %s", w.plan.Input)
	}
	return nil
}

func (w *planWriter) endShard() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	sum := sha256.Sum256(w.names)
	w.shardSum = append(w.shardSum, sum[:]...)
	if w.st != nil {
		w.packed = w.zip.EncodeAll(w.names, w.packed[:0])
		if w.draft == nil {
			d, err := w.st.draft()
			if err != nil {
				return err
			}
			w.draft = d
		}
		w.index = binary.LittleEndian.AppendUint64(w.index, uint64(w.part.Size))
		w.index = binary.LittleEndian.AppendUint32(w.index, uint32(len(w.packed)))
		w.index = binary.LittleEndian.AppendUint32(w.index, uint32(w.items))
		w.index = append(w.index, sum[:]...)
		w.write(w.packed)
	}
	w.part.Shards++
	w.part.Items += w.items
	w.bytes += int64(len(w.names))
	w.plan.Shards++
	w.plan.Items += w.items
	w.names, w.items = w.names[:0], 0
	if w.part.Shards == partShards || w.bytes >= partBytes {
		return w.endPart()
	}
	return nil
}

// write appends to the part; its draft keeps the first error.
func (w *planWriter) write(data []byte) {
	w.draft.Write(data)
	w.hashed.Write(data)
	w.part.Size += int64(len(data))
}

func (w *planWriter) endPart() error {
	if w.part.Shards == 0 {
		return nil
	}
	sum := sha256.Sum256(w.shardSum)
	w.part.Hash = hex.EncodeToString(sum[:])
	if w.st != nil {
		w.write(w.index)
		// Named by its content: calls for different plans do not disturb each other.
		w.part.Key = partFolder + hex.EncodeToString(w.hashed.Sum(nil)[:10]) + ".names"
		_, err := w.draft.commit(w.ctx, w.part.Key, true)
		w.draft.discard()
		w.draft = nil
		if err != nil {
			return err
		}
	}
	w.plan.Parts = append(w.plan.Parts, w.part)
	w.part, w.bytes = Part{}, 0
	w.index, w.shardSum = w.index[:0], w.shardSum[:0]
	w.hashed.Reset()
	return nil
}

// readIndex reads the index of a part.
func readIndex(data []byte, x Part) ([]entry, error) {
	entries := make([]entry, x.Shards)
	sums := sha256.New()
	end, items := int64(0), int64(0)
	for i := range entries {
		b, e := data[i*entrySize:], &entries[i]
		e.off = int64(binary.LittleEndian.Uint64(b))
		e.length = int64(binary.LittleEndian.Uint32(b[8:]))
		e.items = int64(binary.LittleEndian.Uint32(b[12:]))
		copy(e.hash[:], b[16:])
		sums.Write(e.hash[:])
		if e.off != end || e.length == 0 {
			return nil, fmt.Errorf("%w: its index does not fit its frames", ErrDamaged)
		}
		end += e.length
		items += e.items
	}
	if end != x.Size-int64(len(data)) || items != x.Items || hex.EncodeToString(sums.Sum(nil)) != x.Hash {
		return nil, fmt.Errorf("%w: its index is not the plan's", ErrDamaged)
	}
	return entries, nil
}

// unpack returns the names of a frame, which share one piece of memory.
func unpack(packed []byte, e entry) ([]string, error) {
	zip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxNames+maxName))
	if err != nil {
		return nil, err
	}
	defer zip.Close()
	data, err := zip.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if sha256.Sum256(data) != e.hash {
		return nil, fmt.Errorf("%w: its names are not the plan's", ErrDamaged)
	}
	text := string(data)
	names := make([]string, 0, e.items)
	for off := 0; off < len(data); {
		n, k := binary.Uvarint(data[off:])
		if k <= 0 || n > uint64(len(data)-off-k) {
			return nil, fmt.Errorf("%w: a name has no end", ErrDamaged)
		}
		names = append(names, text[off+k:off+k+int(n)])
		off += k + int(n)
	}
	return names, nil
}
