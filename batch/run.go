package batch

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Run does a plan from here to its end: it queues what is missing, works with as many
// workers as are given, and does so again while results are missing. It is for a
// process that has a queue of its own, but others may work beside it. When ctx ends
// its error is returned, and Run called again goes on from there.
func (q *Queue) Run(ctx context.Context, st *Store, p *Plan, workers ...WorkOptions) (Summary, error) {
	if len(workers) == 0 {
		return Summary{}, errors.New("batch: run: there is no worker")
	}
	return q.RunBy(ctx, st, p, func(ctx context.Context) error {
		g, inner := errgroup.WithContext(ctx)
		for _, o := range workers {
			o.Only, o.Drain = p.ID, true
			g.Go(func() error { return q.Work(inner, o) })
		}
		return g.Wait()
	})
}

// RunBy is Run with work in the place of workers: it returns when nothing is queued nor
// in work.
func (q *Queue) RunBy(ctx context.Context, st *Store, p *Plan, work func(context.Context) error) (Summary, error) {
	for before := p.Shards + 1; ; {
		if _, err := q.Submit(ctx, st, p); err != nil {
			return Summary{}, err
		}
		if err := work(ctx); err != nil {
			return Summary{}, err
		}
		if err := ctx.Err(); err != nil {
			return Summary{}, err
		}
		s, err := Finalize(ctx, st, p)
		switch {
		case err == nil:
			return s, q.Clear(ctx, p)
		case !errors.Is(err, ErrIncomplete):
			return s, err
		case s.Missing >= before:
			return s, fmt.Errorf("%w: the last round did none of them", err)
		}
		before = s.Missing
	}
}
