package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// How often a worker says that it lives, and after which time without it is taken
// to be gone.
const (
	alive  = 5 * time.Second
	silent = time.Minute
)

// A Worker is what a worker says of itself.
type Worker struct {
	Name      string    `json:"name"`
	Plan      string    `json:"plan"`  // at hand, "" if there is none
	Shard     int       `json:"shard"` // at hand, -1 if there is none
	Try       int       `json:"try"`
	Since     time.Time `json:"since"`      // of the shard at hand, or of the worker
	Images    int64     `json:"images"`     // done of the shard at hand
	PerSecond float64   `json:"per_second"` // images, lately
	Done      int       `json:"done"`       // shards since the worker began
	Seen      time.Time `json:"seen"`       // when it last said so
}

// A Status is how far a plan is.
type Status struct {
	Plan   string `json:"plan"`
	Shards int    `json:"shards"`
	Done   int    `json:"done"`          // shards with a result
	Failed int    `json:"failed_shards"` // of them, whose rows say that the shard failed
	Items  int64  `json:"items"`
	Counts        // of the shards that are done
	// Uncounted is how many shards are done but have no counts.
	Uncounted int  `json:"uncounted,omitempty"`
	Cancelled bool `json:"cancelled,omitempty"`
	// Of the queue: shards that wait, that workers have, and the workers at this
	// plan, or at none. A shard is in work until its lease ends.
	Queued  int      `json:"queued"`
	InWork  int      `json:"in_work"`
	Workers []Worker `json:"workers,omitempty"`
}

// Complete says whether all shards have a result.
func (s Status) Complete() bool { return s.Done == s.Shards }

// StatusOf says how far a plan is as its store knows. It lists all results.
func StatusOf(ctx context.Context, st *Store, p *Plan) (Status, error) {
	t, err := listResults(ctx, st, p, true)
	if err != nil {
		return Status{}, err
	}
	sum, uncounted, err := t.sum(ctx, st)
	if err != nil {
		return Status{}, err
	}
	s := Status{Plan: p.ID, Shards: p.Shards, Done: t.done, Failed: sum.Failed, Items: p.Items, Counts: sum.Counts, Uncounted: len(uncounted)}
	err = checkCancelled(ctx, st, p)
	if s.Cancelled = errors.Is(err, ErrCancelled); s.Cancelled {
		err = nil
	}
	return s, err
}

// Status says how far a plan is, and who works on it.
func (q *Queue) Status(ctx context.Context, st *Store, p *Plan) (Status, error) {
	s, err := StatusOf(ctx, st, p)
	if err != nil {
		return s, err
	}
	if err := q.addTo(ctx, &s); err != nil {
		return s, fmt.Errorf("batch: ask queue %s for plan %s: %w", q.where, p.ID, err)
	}
	return s, nil
}

// addTo says what the queue knows.
func (q *Queue) addTo(ctx context.Context, s *Status) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	c, err := q.js.Consumer(ctx, q.stream(), consumerName(s.Plan))
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil
	} else if err == nil {
		info := c.CachedInfo()
		s.Queued, s.InWork = int(info.NumPending), info.NumAckPending
	}
	if err != nil {
		return err
	}
	s.Workers, err = q.listWorkers(ctx)
	s.Workers = slices.DeleteFunc(s.Workers, func(w Worker) bool { return w.Plan != "" && w.Plan != s.Plan })
	return err
}

// listWorkers returns the workers of all plans, by name.
func (q *Queue) listWorkers(ctx context.Context) ([]Worker, error) {
	kv, err := q.js.KeyValue(ctx, q.prefix+"-workers")
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer all.Stop()
	var workers []Worker
	for {
		select {
		case e := <-all.Updates():
			if e == nil {
				slices.SortFunc(workers, func(a, b Worker) int { return strings.Compare(a.Name, b.Name) })
				return workers, nil
			}
			var w Worker
			if json.Unmarshal(e.Value(), &w) == nil {
				workers = append(workers, w)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// WatchOptions says how Watch goes about it.
type WatchOptions struct {
	Every    time.Duration // 0: 5 s; what is too often for the size of the store is less often
	Resubmit bool          // queue again what is missing when nothing is queued nor in work
	Progress func(Status)  // may be nil
}

// Watch waits until all shards of a plan have a result. Where the plan is cancelled
// the error wraps ErrCancelled.
func (q *Queue) Watch(ctx context.Context, st *Store, p *Plan, o WatchOptions) (Status, error) {
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	idle := 0
	for {
		began := time.Now()
		s, err := StatusOf(ctx, st, p)
		pause := max(o.Every, 10*time.Since(began))
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		if err != nil {
			return s, err
		}
		err = q.addTo(ctx, &s)
		if o.Progress != nil && (err == nil || s.Complete()) {
			o.Progress(s)
		}
		switch {
		case s.Complete():
			return s, nil
		case s.Cancelled:
			return s, checkCancelled(ctx, st, p)
		case err != nil: // a server that is started anew
		case s.Queued > 0 || s.InWork > 0:
			idle = 0
		default:
			// Twice: a shard may have been done between the two questions.
			if idle++; o.Resubmit && idle > 1 {
				if _, err := q.Submit(ctx, st, p); err != nil {
					return s, err
				}
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
}
