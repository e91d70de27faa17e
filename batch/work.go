package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	defaultLease   = time.Minute
	defaultTries   = 5
	defaultTimeout = time.Hour
	defaultHang    = 15 * time.Second

	pullTime   = 2 * time.Second        // a request for a shard waits for one so long
	pollTime   = 500 * time.Millisecond // between looks at several plans that have none
	renewTime  = 10 * time.Second       // between looks for new plans and leases
	stay       = 5 * time.Minute        // at a plan, before another has its turn
	coolOff    = 20 * time.Second       // of a plan that cannot be worked on
	storeTries = 3                      // failures of a store in a row, before a worker ends
	openPlans  = 2                      // that a worker keeps open
)

// counter tells the workers of a process apart.
var counter atomic.Int64

// A worker is one call of Work.
type worker struct {
	q *Queue
	o WorkOptions

	sources  []*source // of shards
	renewed  time.Time
	returned jetstream.KeyValue
	plans    []*opened // the last used first
	failures int       // of stores or of opening, in a row
	trouble  string    // that was told last

	mu    sync.Mutex
	about Worker        // what is told of the worker
	rate  rate          // of images
	part  *atomic.Int64 // images of the shard at hand
}

// A source is a plan that may have shards.
type source struct {
	plan  string
	c     jetstream.Consumer
	lease time.Duration
	since time.Time // of work on it without a break
	cool  time.Time // until then it is left alone
}

// opened is a plan and what its shards are done with.
type opened struct {
	p  *Plan
	st *Store
	j  Job
}

func (x *opened) close() {
	if c, ok := x.j.(io.Closer); ok {
		c.Close()
	}
	x.st.Close()
}

// Work does one shard after the other, until ctx ends, which is no error, or with
// Drain until there is nothing left. A shard that fails is tried again, here or
// elsewhere; after MaxTries its result says that it failed. A shard at hand when ctx
// ends is handed back. Work ends with an error that wraps ErrStore where results
// cannot be written, and ErrHung where a shard cannot be stopped: its goroutine is
// left behind then, and the process should end.
func (q *Queue) Work(ctx context.Context, o WorkOptions) error {
	if o.Open == nil {
		return errors.New("batch: work: there is nothing to open plans with")
	}
	if o.Lease < 0 || o.Lease > 0 && o.Lease < time.Millisecond {
		return fmt.Errorf("batch: work: a lease of %v, want at least a millisecond", o.Lease)
	}
	w := &worker{q: q, o: o, part: new(atomic.Int64)}
	w.defaults()
	hung := false
	defer func() {
		for _, x := range w.plans {
			if !hung { // then it is in use
				x.close()
			}
		}
	}()
	living, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { w.sayAlive(living) })
	defer wg.Wait()
	defer stop()
	for ctx.Err() == nil {
		s, msg, err := w.next(ctx)
		switch {
		case errors.Is(err, errDrained):
			return nil
		case err != nil:
			w.say(err)
			sleep(ctx, time.Second)
		case msg != nil:
			w.trouble = ""
			if err := w.handle(ctx, s, msg); err != nil {
				hung = errors.Is(err, ErrHung)
				return err
			}
		}
	}
	return nil
}

func (w *worker) defaults() {
	o := &w.o
	if o.Name == "" {
		host, _ := os.Hostname()
		o.Name = fmt.Sprintf("%s-%d-%d", host, os.Getpid(), counter.Add(1))
	}
	if o.MaxTries <= 0 {
		o.MaxTries = defaultTries
	}
	if o.ShardTimeout <= 0 {
		o.ShardTimeout = defaultTimeout
	}
	if o.hang <= 0 {
		o.hang = defaultHang
	}
	if o.Only != "" {
		w.sources = []*source{{plan: o.Only}}
	}
	w.about = Worker{Name: o.Name, Shard: -1, Since: time.Now()}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// event tells of a shard.
func (w *worker) event(e Event) {
	e.Worker = w.o.Name
	if w.o.Progress != nil {
		w.o.Progress(e)
	}
}

// say tells of trouble with the queue, once.
func (w *worker) say(err error) {
	if errors.Is(err, jetstream.ErrConsumerDeleted) {
		return // of a plan that is done
	}
	if text := err.Error(); text != w.trouble {
		w.trouble = text
		w.event(Event{Kind: Trouble, Shard: -1, Err: fmt.Errorf("batch: queue %s: %w", w.q.where, err)})
	}
}

// errDrained says that there is nothing more to do.
var errDrained = errors.New("nothing is queued")

// next waits for a shard; both results are nil where there was none for a while.
func (w *worker) next(ctx context.Context) (*source, jetstream.Msg, error) {
	if status := w.q.nc.Status(); status != nats.CONNECTED {
		return nil, nil, fmt.Errorf("the server cannot be reached (%s)", strings.ToLower(status.String()))
	}
	if age := time.Since(w.renewed); age > renewTime || len(w.sources) == 0 && age > time.Second {
		if err := w.renew(ctx); err != nil {
			return nil, nil, err
		}
	}
	now := time.Now()
	ready := slices.DeleteFunc(slices.Clone(w.sources), func(s *source) bool { return now.Before(s.cool) })
	// It is the turn of whom the worker is at, unless that was so for long.
	slices.SortStableFunc(ready, func(a, b *source) int { return b.since.Compare(a.since) })
	if len(ready) > 1 && !ready[0].since.IsZero() && now.Sub(ready[0].since) > stay {
		ready[0].since = time.Time{}
		ready = append(ready[1:], ready[0])
	}
	for _, s := range ready {
		msg, err := w.pull(s, len(ready) == 1)
		if err != nil {
			w.renewed = time.Time{}
			return nil, nil, err
		}
		if msg != nil {
			if s.since.IsZero() {
				s.since = time.Now()
			}
			return s, msg, nil
		}
		s.since = time.Time{}
	}
	if w.o.Drain {
		if drained, err := w.drained(ctx); drained || err != nil {
			if drained {
				err = errDrained
			}
			return nil, nil, err
		}
	}
	if len(ready) != 1 {
		sleep(ctx, pollTime)
	}
	return nil, nil, nil
}

// pull asks for one shard. More would wait here while their leases run out.
func (w *worker) pull(s *source, wait bool) (jetstream.Msg, error) {
	var batch jetstream.MessageBatch
	var err error
	if wait {
		// The request is not ended early: the server may have answered already.
		most := pullTime
		if w.o.Drain {
			most = pollTime
		}
		batch, err = s.c.Fetch(1, jetstream.FetchMaxWait(most))
	} else {
		batch, err = s.c.FetchNoWait(1)
	}
	if err != nil {
		return nil, err
	}
	for msg := range batch.Messages() {
		return msg, nil
	}
	err = batch.Error()
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrNoMessages) {
		err = nil
	}
	return nil, err
}

// drained says whether nothing is queued and nobody works.
func (w *worker) drained(ctx context.Context) (bool, error) {
	if w.o.Only == "" {
		if err := w.renew(ctx); err != nil {
			return false, err
		}
	}
	for _, s := range w.sources {
		ctx, cancel := context.WithTimeout(ctx, requestTime)
		info, err := s.c.Info(ctx)
		cancel()
		if err != nil {
			w.renewed = time.Time{}
			return false, err
		}
		if info.NumPending > 0 || info.NumAckPending > 0 {
			return false, nil
		}
	}
	return true, nil
}

// renew looks for plans and for their leases, and makes what a server may have lost.
func (w *worker) renew(ctx context.Context) error {
	if err := w.q.ensure(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var err error
	if w.returned, err = w.q.returned(ctx); err != nil {
		return err
	}
	plans := []string{w.o.Only}
	if w.o.Only == "" {
		plans = nil
		st, err := w.q.js.Stream(ctx, w.q.stream())
		if err != nil {
			return err
		}
		names := st.ConsumerNames(ctx)
		for name := range names.Name() {
			if plan, ok := planOf(name); ok {
				plans = append(plans, plan)
			}
		}
		if err := names.Err(); err != nil {
			return err
		}
	}
	var sources []*source
	for _, plan := range plans {
		i := slices.IndexFunc(w.sources, func(s *source) bool { return s.plan == plan })
		s := &source{plan: plan}
		if i >= 0 {
			s = w.sources[i]
		}
		if s.c, err = w.q.consumer(ctx, plan, w.o.Lease); err != nil {
			return err
		}
		s.lease = s.c.CachedInfo().Config.AckWait
		sources = append(sources, s)
	}
	w.sources, w.renewed = sources, time.Now()
	return nil
}

// open returns what a plan's shards are done with.
func (w *worker) open(ctx context.Context, m message) (*opened, error) {
	for i, x := range w.plans {
		if x.p.ID == m.Plan {
			w.plans = append([]*opened{x}, slices.Delete(w.plans, i, i+1)...)
			return x, nil
		}
	}
	for len(w.plans) >= openPlans {
		last := len(w.plans) - 1
		w.plans[last].close()
		w.plans = w.plans[:last]
	}
	p, st, j, err := w.o.Open(ctx, m.Output)
	if err != nil {
		return nil, fmt.Errorf("batch: open plan %s in %s: %w", m.Plan, m.Output, err)
	}
	x := &opened{p, st, j}
	if p.ID != m.Plan {
		x.close()
		return nil, fmt.Errorf("batch: open plan %s in %s: %w: %s", m.Plan, m.Output, ErrOtherPlan, p.ID)
	}
	w.plans = append([]*opened{x}, w.plans...)
	return x, nil
}

// sayAlive says from time to time what the worker does.
func (w *worker) sayAlive(ctx context.Context) {
	tick := time.NewTicker(alive)
	defer tick.Stop()
	var kv jetstream.KeyValue
	key := keyOf(w.o.Name)
	for {
		if w.q.nc.Status() == nats.CONNECTED {
			kv = w.sayOnce(ctx, kv, key)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if kv != nil && w.q.nc.Status() == nats.CONNECTED {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTime)
				kv.Delete(ctx, key)
				cancel()
			}
			return
		}
	}
}

// sayOnce returns the bucket to be used next, nil where it has to be found.
func (w *worker) sayOnce(ctx context.Context, kv jetstream.KeyValue, key string) jetstream.KeyValue {
	ctx, cancel := context.WithTimeout(ctx, alive)
	defer cancel()
	if kv == nil {
		var err error
		if kv, err = w.q.workers(ctx); err != nil {
			return nil
		}
	}
	text, err := json.Marshal(w.state(time.Now()))
	if err != nil {
		return kv
	}
	if _, err := kv.Put(ctx, key, text); err != nil {
		return nil
	}
	return kv
}

// state returns what is to be told of the worker.
func (w *worker) state(now time.Time) Worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.about
	t.Images = w.part.Load()
	t.Seen = now
	t.PerSecond = w.rate.at(now, t.Images)
	return t
}

// keyOf makes a name one of a bucket's keys.
func keyOf(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

// A rate is how fast images were done within the last half minute or so.
type rate struct {
	total   int64 // of the shards before the one at hand
	samples []sample
}

type sample struct {
	at     time.Time
	images int64
}

func (r *rate) at(now time.Time, part int64) float64 {
	s := sample{now, r.total + part}
	if n := len(r.samples); n > 1 && now.Sub(r.samples[0].at) > 30*time.Second {
		r.samples = r.samples[1:]
	}
	r.samples = append(r.samples, s)
	first := r.samples[0]
	if d := now.Sub(first.at).Seconds(); d > 0 {
		return float64(max(s.images-first.images, 0)) / d
	}
	return 0
}
