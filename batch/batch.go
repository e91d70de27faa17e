// Package batch takes a listing of images that is too long for one run of one
// program through many shards, each done exactly once.
//
// [MakePlan] freezes the listing and cuts it into shards; the plan lies in an object
// store or a folder, where the results come to lie as well, one object a shard. That
// store is the place of truth: a shard is done when its result is there, and a plan
// when all are. A [Queue] says who works on what. It can be lost at any moment:
// [Queue.Submit] queues again what has no result.
//
//	st, err := batch.OpenStore(ctx, "s3://bucket/scores")
//	p, err := batch.MakePlan(ctx, st, spec, names, program)
//	q, err := batch.Embed(dir) // or Connect, with workers on other machines
//	sum, err := q.Run(ctx, st, p, batch.WorkOptions{Open: open})
//
// What the work of a shard is, its [Job] knows. Without a queue, [DoShard] does one
// shard by its number, and [Finalize] says what is missing.
package batch

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// What an item of a listing is.
const (
	Images   = "images"   // an image: one row
	Archives = "archives" // a tar archive: as many rows as it holds images; one item a shard
)

// A Spec says what a plan is to do. All of it is part of the plan's identity.
type Spec struct {
	Input     string            `json:"input"`  // what the items were listed from, as workers are to open it
	Output    string            `json:"output"` // where the plan and its results lie, as workers are to open it
	Model     string            `json:"model"`  // the bundle, as workers are to open it
	Digest    string            `json:"digest"` // of the bundle
	ShardSize int               `json:"shard_size"`
	Options   map[string]string `json:"options,omitempty"` // of scoring
	Kind      string            `json:"kind"`              // Images or Archives
}

// Counts says what the rows of results are.
type Counts struct {
	Rows  int64 `json:"rows"`
	OK    int64 `json:"ok"`
	Bad   int64 `json:"bad"` // whose status is not ok; OK + Bad = Rows
	Novel int64 `json:"novel"`
}

func (c *Counts) add(d Counts) {
	c.Rows += d.Rows
	c.OK += d.OK
	c.Bad += d.Bad
	c.Novel += d.Novel
}

// A Shard is a run of a plan's items.
type Shard struct {
	Plan  *Plan
	Index int
	First int64    // number of its first item in the listing, from 0
	Items []string // names, in the listing's order
}

// A Job is what is done with a shard. It is used for one shard at a time.
type Job interface {
	// Do writes the result of a shard, which has one row for each image. It calls
	// [Advance] as it goes on. Rows that cannot be scored are no error.
	Do(ctx context.Context, s Shard, w io.Writer) (Counts, error)

	// GiveUp writes rows that say that the shard failed: of one image each, or of
	// the archive.
	GiveUp(ctx context.Context, s Shard, reason string, w io.Writer) (Counts, error)
}

// A Recounter is a [Job] that can count the rows of a result.
type Recounter interface {
	Recount(ctx context.Context, s Shard, r io.ReaderAt, size int64) (Counts, error)
}

var (
	// ErrNoPlan is wrapped by the error of OpenPlan where the store has no plan.
	ErrNoPlan = errors.New("no plan is there")
	// ErrOtherPlan is wrapped by the error of MakePlan where the store has another
	// plan, and by what finds another plan than it was told to expect.
	ErrOtherPlan = errors.New("another plan is there")
	// ErrDamaged is wrapped by errors of reading a plan that is not what was written.
	ErrDamaged = errors.New("the plan is damaged")
	// ErrIncomplete is wrapped by the error of Finalize while results are missing.
	ErrIncomplete = errors.New("results are missing")
	// ErrUncounted is wrapped by the error of Finalize where a result has no counts
	// any more; Recount makes them again.
	ErrUncounted = errors.New("counts are missing")
	// ErrCancelled is wrapped by the errors of work on a plan that was cancelled.
	ErrCancelled = errors.New("the plan was cancelled")
	// ErrLocked is wrapped by the error of Embed where another process has the folder.
	ErrLocked = errors.New("another process uses it")
	// ErrHung is wrapped by the error of Work where a shard neither ended in its time
	// nor when it was told to: the process has to end.
	ErrHung = errors.New("the shard does not end")
	// ErrStore is wrapped by the error of DoShard and Work where it is not the shard
	// that failed but the writing of its result, or the reading of its names.
	ErrStore = errors.New("the store failed")
)

// An EventKind says what an [Event] is about.
type EventKind string

// What happens to shards.
const (
	Started  EventKind = "started"
	Done     EventKind = "done"
	WasThere EventKind = "was there" // another worker had done it
	Failed   EventKind = "failed"    // will be tried again
	GaveUp   EventKind = "gave up"   // failed too often; its rows say so
	Returned EventKind = "returned"  // handed back undone, as the worker ends or cannot work
	Dropped  EventKind = "dropped"   // of a plan that was cancelled or is not there any more
	Trouble  EventKind = "trouble"   // with the queue itself; Shard is -1
)

// An Event is what happened to a shard at a worker.
type Event struct {
	Kind   EventKind
	Worker string
	Plan   string // its ID
	Shard  int
	Try    int // from 1
	Counts Counts
	Took   time.Duration
	Err    error
}

// WorkOptions is what [Queue.Work] needs.
type WorkOptions struct {
	Name string // of the worker, unique; empty: from host, process and a counter

	// Open opens what a plan needs, by its output. It is called once for each plan
	// the worker meets. A Store or a Job that has a Close method is closed when Work
	// returns.
	Open func(ctx context.Context, output string) (*Plan, *Store, Job, error)

	Only         string        // ID of the one plan to work for; empty: all
	Lease        time.Duration // after which a silent worker's shard goes to another; 0: a minute, or the queue's
	MaxTries     int           // 0: 5
	ShardTimeout time.Duration // hard limit of a shard; 0: an hour
	Grace        time.Duration // for which a shard may go on after ctx ended, before it is handed back
	Drain        bool          // return nil when nothing is queued nor in work; that is not to say all is done
	Progress     func(Event)   // may be nil; called by one goroutine at a time

	hang time.Duration // after which a shard that was told to end hangs; 0: 15 s
}

type advanceKey struct{}

// Advance says that the job of ctx is done with so many more images of its shard.
func Advance(ctx context.Context, images int64) {
	if n, ok := ctx.Value(advanceKey{}).(*atomic.Int64); ok {
		n.Add(images)
	}
}
