package faissindex

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/nlnctl/nlnctl/nln"
)

// MinRecall is the share of the exact search's neighbours that an index of an
// approximate kind is made to find, if it can.
const MinRecall = 0.99

// most is how many queries a recall is measured over at most.
const most = 1000

// A rule says when Auto takes an approximate kind.
type rule struct {
	from   int     // vectors, and more
	fewest int     // queries to measure the recall by
	recall float64 // at least
	gain   float64 // of processor time over exact search, at least
}

// autoRule: at a million vectors exact search and the best approximate kind take
// the same time, and the gain grows with the root of their number; to try further
// down is time lost. docs/decisions/index-kinds.md has the measurements. A hundred queries for 10 neighbours each know the recall
// within a percent. A smaller gain is not worth a missed neighbour.
var autoRule = rule{from: 2_000_000, fewest: 100, recall: MinRecall, gain: 2}

// A Choice says how an index is searched, and what was measured to choose that.
type Choice struct {
	Asked   Kind    `json:"asked"` // of Choose
	Kind    Kind    `json:"kind"`
	Factory string  `json:"factory,omitempty"` // FAISS's name of an approximate index
	Effort  int     `json:"effort,omitempty"`  // efSearch of HNSW, nprobe of IVF
	Recall  float64 `json:"recall,omitempty"`  // share of the K nearest vectors of Queries queries that are found
	K       int     `json:"k,omitempty"`
	Queries int     `json:"queries,omitempty"`
	Gain    float64 `json:"gain,omitempty"`   // processor time of exact search over that of this one
	Reason  string  `json:"reason,omitempty"` // why Auto chose that
}

// String says it in a line.
func (c Choice) String() string {
	s := "exact search"
	if c.Kind != Exact && c.Kind != "" {
		s = fmt.Sprintf("%s with effort %d, recall %.4f of the %d nearest over %d queries, %.1f times as fast as exact search",
			c.Factory, c.Effort, c.Recall, c.K, c.Queries, c.Gain)
	}
	if c.Reason != "" {
		s += ": " + c.Reason
	}
	return s
}

// Choose makes a filled exact index one of the kind that is asked for, in place,
// with the least effort that finds MinRecall of the k nearest vectors of the
// queries; where none does, with the most. With Auto it stays exact unless an
// approximate kind reaches MinRecall and is clearly faster. The queries, row-major,
// should be held-out vectors like those that will be searched for; some of them
// will do, evenly spaced, where there are many. Vectors may be added afterwards.
//
// It needs memory for a second copy of the vectors while it is at work. After an
// error the index is as it was.
func (x *Index) Choose(ctx context.Context, asked Kind, queries []float32, k int) (Choice, error) {
	c, err := x.choose(ctx, asked, queries, k, autoRule)
	if err != nil {
		return Choice{}, fmt.Errorf("faissindex: choose: %w", err)
	}
	return c, nil
}

func (x *Index) choose(ctx context.Context, asked Kind, queries []float32, k int, auto rule) (Choice, error) {
	exact := Choice{Asked: asked, Kind: Exact}
	n := len(queries) / x.Dim()
	switch {
	case !slices.Contains(Kinds(), string(asked)):
		return Choice{}, fmt.Errorf("kind %q, want one of %q", asked, Kinds())
	case x.kind != Exact:
		return Choice{}, fmt.Errorf("the index is of kind %s already", x.kind)
	case asked == Exact:
		return exact, nil
	case x.Len() == 0:
		return Choice{}, nln.ErrEmptyIndex
	case asked == Auto && auto.early(x.Len(), n) != "":
		exact.Reason = auto.early(x.Len(), n)
		return exact, nil
	case n == 0:
		return Choice{}, errors.New("no held-out vectors to measure the recall by")
	}
	kind := asked
	if asked == Auto {
		kind = IVF // which was faster than HNSW at every size, and is built faster
	}
	try, c, err := x.try(ctx, kind, sample(queries, x.Dim(), most), k)
	if err != nil {
		return Choice{}, err
	}
	c.Asked = asked
	if asked == Auto {
		if exact.Reason = auto.late(c); exact.Reason != "" {
			return exact, try.Close()
		}
	}
	return c, x.become(try)
}

// early says why an index of n vectors stays exact without trying another kind,
// or "".
func (r rule) early(n, queries int) string {
	if n < r.from {
		return fmt.Sprintf("approximate kinds gain from about %d vectors on, not for %d", r.from, n)
	}
	if queries < r.fewest {
		return fmt.Sprintf("%d held-out vectors are too few to measure the recall of another kind by, want %d", queries, r.fewest)
	}
	return ""
}

// late says why an index stays exact in spite of c, or "".
func (r rule) late(c Choice) string {
	if c.Recall < r.recall {
		return fmt.Sprintf("%s finds %.4f of the neighbours at most, less than %v", c.Factory, c.Recall, r.recall)
	}
	if c.Gain < r.gain {
		return fmt.Sprintf("%s is only %.1f times as fast at a recall of %.4f", c.Factory, c.Gain, c.Recall)
	}
	return ""
}

// become takes the place of x's index; y is not to be used any more.
func (x *Index) become(y *Index) error {
	err := x.Close() // its codes are for exact searches, which are rare from now on
	x.raw, x.kind, x.packed = y.raw, y.kind, y.packed
	return err
}

// efforts returns what is tried, in order, each half as much again as the last.
func (k Kind) efforts(n int) []int {
	least, most := 16, 1024
	if k == IVF {
		least, most = 4, lists(n)
	}
	var list []int
	for e := least; e < most; e += e / 2 {
		list = append(list, e)
	}
	return append(list, most)
}

// try returns an index of another kind over the same vectors, with the least
// effort that will do, and what was measured.
func (x *Index) try(ctx context.Context, kind Kind, queries []float32, k int) (_ *Index, c Choice, err error) {
	want, exactTime, err := timed(ctx, x, queries, k)
	if err != nil {
		return nil, c, err
	}
	raw, err := build(ctx, kind, x.Dim(), x.Vectors())
	if err != nil {
		return nil, c, err
	}
	y := &Index{raw: raw, kind: kind, level: x.level}
	c = Choice{Kind: kind, Factory: kind.factory(x.Len()), K: want.K, Queries: len(queries) / x.Dim()}
	for _, c.Effort = range kind.efforts(x.Len()) {
		if err := raw.SetEffort(c.Effort); err != nil {
			return nil, c, errors.Join(err, y.Close())
		}
		got, took, err := timed(ctx, y, queries, k)
		if err != nil {
			return nil, c, errors.Join(err, y.Close())
		}
		c.Recall, c.Gain = recall(got, want), float64(exactTime)/float64(max(took, 1))
		if c.Recall >= MinRecall {
			break
		}
	}
	return y, c, nil
}

// timed searches once to warm up and once more for the processor time, which says
// more than the clock where other programs are at work.
func timed(ctx context.Context, x *Index, queries []float32, k int) (nb nln.Neighbors, took time.Duration, err error) {
	if nb, err = x.Search(ctx, queries, k, nb); err != nil {
		return nb, 0, err
	}
	start := processorTime()
	nb, err = x.Search(ctx, queries, k, nb)
	return nb, processorTime() - start, err
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// recall returns the share of the nearest vectors, want, that got has. Another
// vector at the distance of the last one is as good: of equal vectors it does not
// matter which is found.
func recall(got, want nln.Neighbors) float64 {
	found := 0
	for i, d := range got.Dist {
		if d <= want.Dist[i/want.K*want.K+want.K-1] {
			found++
		}
	}
	return float64(found) / float64(max(len(want.Dist), 1))
}
