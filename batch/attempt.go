package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Why a shard is told to end.
var (
	errEnding  = errors.New("the worker ends")
	errTimeout = errors.New("it took too long")
)

// cancelLook is how often a worker looks whether its plan was cancelled.
const cancelLook = 10 * time.Second

// An attempt is a shard in the hands of a worker.
type attempt struct {
	*worker
	src   *source
	msg   jetstream.Msg
	m     message
	seq   uint64 // of the message in its stream
	try   int
	began time.Time
}

// handle does what a message asks for. An error ends the worker.
func (w *worker) handle(ctx context.Context, s *source, msg jetstream.Msg) error {
	a := &attempt{worker: w, src: s, msg: msg, began: time.Now()}
	meta, err := msg.Metadata()
	if err == nil {
		err = json.Unmarshal(msg.Data(), &a.m)
	}
	if err != nil || a.m.Plan != s.plan {
		w.say(fmt.Errorf("a message of subject %s is none of a shard: it is thrown away", msg.Subject()))
		msg.Term()
		return nil
	}
	a.seq = meta.Sequence.Stream
	if ctx.Err() != nil {
		a.giveBack(0)
		return nil
	}
	a.try = max(int(meta.NumDelivered)-a.handedBack(int(meta.NumDelivered)), 1)
	w.begin(a)
	defer w.end()
	stop := a.keep() // opening a model may take long
	defer stop()
	x, err := w.open(ctx, a.m)
	if err != nil {
		return a.cannot(ctx, err)
	}
	if a.m.Shard < 0 || a.m.Shard >= x.p.Shards {
		w.say(fmt.Errorf("plan %s has no shard %d: its message is thrown away", x.p.ID, a.m.Shard))
		msg.Term()
		return nil
	}
	a.tell(Event{Kind: Started})
	if a.try > w.o.MaxTries {
		return a.giveUp(ctx, x, fmt.Sprintf("no worker came to an end with it: they ended, or had no result in time, %d times", a.try-1))
	}
	c, did, err := a.do(ctx, x, func(ctx context.Context) (Counts, bool, error) {
		return DoShard(ctx, x.st, x.p, a.m.Shard, x.j)
	})
	if err != nil && a.fault(err) && a.try >= w.o.MaxTries {
		return a.giveUp(ctx, x, err.Error())
	}
	return a.finish(ctx, Done, c, did, err)
}

// begin and end keep what is told of the worker.
func (w *worker) begin(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.part = new(atomic.Int64)
	w.about.Plan, w.about.Shard, w.about.Try, w.about.Since = a.m.Plan, a.m.Shard, a.try, a.began
}

func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rate.total += w.part.Load()
	w.part = new(atomic.Int64)
	w.about.Plan, w.about.Shard, w.about.Try, w.about.Since = "", -1, 0, time.Now()
}

// tell tells of the shard.
func (a *attempt) tell(e Event) {
	e.Plan, e.Shard, e.Try, e.Took = a.m.Plan, a.m.Shard, a.try, time.Since(a.began)
	a.event(e)
}

// keep tells the queue that the shard is in work, until stop is called.
func (a *attempt) keep() (stop func()) {
	ended := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(max(a.src.lease/3, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				a.msg.InProgress()
			case <-ended:
				return
			}
		}
	}()
	stopped := false
	return func() {
		if !stopped {
			stopped = true
			close(ended)
			<-gone
		}
	}
}

// fault says whether an error is the shard's.
func (a *attempt) fault(err error) bool {
	return !isStore(err) && !errors.Is(err, ErrCancelled) && !errors.Is(err, errEnding) && !errors.Is(err, ErrHung)
}

// do runs what makes a result, and tells it to end at its limit, when the worker
// ends, or when the plan is cancelled. Why is what the error wraps then.
func (a *attempt) do(ctx context.Context, x *opened, run func(context.Context) (Counts, bool, error)) (Counts, bool, error) {
	inner, cancel := context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), advanceKey{}, a.part))
	defer cancel(nil)
	type result struct {
		c   Counts
		did bool
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.c, r.did, r.err = run(inner)
		done <- r
	}()
	limit := time.NewTimer(a.o.ShardTimeout)
	defer limit.Stop()
	look := time.NewTicker(cancelLook)
	defer look.Stop()
	ending := ctx.Done()
	var grace, hang <-chan time.Time
	tell := func(why error) {
		if hang == nil {
			cancel(why)
			hang = time.After(a.o.hang)
		}
	}
	for {
		select {
		case r := <-done:
			if why := context.Cause(inner); why != nil && r.err != nil {
				r.err = fmt.Errorf("batch: shard %d of plan %s: %w: %w", a.m.Shard, a.m.Plan, why, r.err)
			}
			return r.c, r.did, r.err
		case <-limit.C:
			tell(fmt.Errorf("%w: over %v", errTimeout, a.o.ShardTimeout))
		case <-ending:
			ending, grace = nil, time.After(a.o.Grace)
		case <-grace:
			tell(errEnding)
		case <-look.C:
			if err := checkCancelled(inner, x.st, x.p); errors.Is(err, ErrCancelled) {
				tell(err)
			}
		case <-hang:
			// No sign of life from now on: another worker gets the shard.
			return Counts{}, false, fmt.Errorf("batch: shard %d of plan %s: %w: %w", a.m.Shard, a.m.Plan, ErrHung, context.Cause(inner))
		}
	}
}

// giveUp writes the result that says that the shard failed.
func (a *attempt) giveUp(ctx context.Context, x *opened, reason string) error {
	c, did, err := a.do(ctx, x, func(ctx context.Context) (Counts, bool, error) {
		return GiveUpShard(ctx, x.st, x.p, a.m.Shard, x.j, reason)
	})
	if did && err == nil {
		a.mu.Lock()
		a.about.Done++
		a.mu.Unlock()
		a.failures = 0
		a.ack()
		a.tell(Event{Kind: GaveUp, Counts: c, Err: errors.New(reason)})
		return nil
	}
	return a.finish(ctx, GaveUp, c, did, err)
}

// finish tells the queue what came of the shard.
func (a *attempt) finish(ctx context.Context, kind EventKind, c Counts, did bool, err error) error {
	switch {
	case err == nil:
		a.failures = 0
		if a.ack(); !did {
			kind = WasThere
		} else {
			a.mu.Lock()
			a.about.Done++
			a.rate.total += max(c.Rows-a.part.Load(), 0) // what the job did not tell
			a.mu.Unlock()
		}
		a.tell(Event{Kind: kind, Counts: c})
	case errors.Is(err, ErrHung):
		a.tell(Event{Kind: Failed, Err: err})
		return err
	case errors.Is(err, ErrCancelled):
		a.ack()
		a.tell(Event{Kind: Dropped, Err: err})
	case errors.Is(err, errEnding):
		a.giveBack(0)
		a.tell(Event{Kind: Returned, Err: err})
	case isStore(err):
		return a.cannot(ctx, err)
	default:
		a.msg.NakWithDelay(min(time.Second<<min(a.try, 6), a.src.lease))
		a.tell(Event{Kind: Failed, Err: err})
	}
	return nil
}

// cannot hands a shard back that this worker cannot do for no fault of the shard. It
// returns the error where that goes on: to try on would take the shards from others.
func (a *attempt) cannot(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		a.giveBack(0)
		a.tell(Event{Kind: Returned, Err: err})
		return nil
	}
	a.failures++
	pause := min(time.Second<<a.failures, a.src.lease)
	a.giveBack(pause)
	a.tell(Event{Kind: Returned, Err: err})
	if a.failures >= storeTries && (a.o.Only != "" || len(a.sources) < 2) {
		return err
	}
	if a.o.Only == "" {
		a.src.cool = time.Now().Add(min(coolOff, 10*a.src.lease))
	}
	sleep(ctx, pause)
	return nil
}

// ack says that the shard is done, and waits to hear that this was heard. Where it is
// not the shard comes once more, and its result is there.
func (a *attempt) ack() {
	ctx, cancel := context.WithTimeout(context.Background(), ackTime)
	defer cancel()
	a.msg.DoubleAck(ctx)
}

// A handBack says how often a message was handed back: the queue counts that as a
// try, which it is not.
type handBack struct {
	Seq   uint64 `json:"seq"`
	Times int    `json:"times"`
}

func (a *attempt) key() string { return fmt.Sprintf("%s.%d", a.m.Plan, a.m.Shard) }

func (a *attempt) handedBack(delivered int) int {
	if delivered < 2 {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), ackTime)
	defer cancel()
	var h handBack
	if e, err := a.returned.Get(ctx, a.key()); err == nil && json.Unmarshal(e.Value(), &h) == nil && h.Seq == a.seq {
		return h.Times
	}
	return 0
}

// giveBack hands the shard to whoever asks for it next.
func (a *attempt) giveBack(pause time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), ackTime)
	defer cancel()
	if text, err := json.Marshal(handBack{a.seq, a.handedBack(2) + 1}); err == nil {
		a.returned.Put(ctx, a.key(), text)
	}
	if pause > 0 {
		a.msg.NakWithDelay(pause)
	} else {
		a.msg.Nak()
	}
	a.q.nc.FlushTimeout(ackTime)
}
