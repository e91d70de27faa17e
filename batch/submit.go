package batch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// window is how many messages are on their way at the same time.
const window = 256

// stillQueued is the server's code for a subject that has its message.
const stillQueued jetstream.ErrorCode = 10077

// A message names a shard. It holds no images and no names of any.
type message struct {
	Plan   string `json:"plan"`
	Output string `json:"output"`
	Shard  int    `json:"shard"`
	First  int64  `json:"first"`
	Items  int64  `json:"items"`
}

// Submit queues the shards of a plan that have no result, and returns how many: not
// those that are queued or in work already. It may be called again at any time, also
// by several processes at once.
func (q *Queue) Submit(ctx context.Context, st *Store, p *Plan) (queued int, err error) {
	if err := checkCancelled(ctx, st, p); err != nil {
		return 0, err
	}
	t, err := listResults(ctx, st, p, false)
	if err != nil {
		return 0, err
	}
	fail := func(err error) (int, error) {
		return queued, fmt.Errorf("batch: submit plan %s to queue %s: %w", p.ID, q.where, err)
	}
	if err := q.ensure(ctx); err != nil {
		return fail(err)
	}
	if _, err := q.consumer(ctx, p.ID, 0); err != nil {
		return fail(err)
	}
	todo := slices.Collect(t.missing())
	// A server that is started anew refuses for a while.
	for try := 0; len(todo) > 0; try++ {
		n, failed, err := q.publish(ctx, p, todo)
		queued += n
		if len(failed) == 0 && err == nil {
			break
		}
		if ctx.Err() != nil {
			return fail(ctx.Err())
		}
		if n > 0 {
			try = 0
		}
		if try == 5 {
			return fail(fmt.Errorf("%d shards could not be queued: %w", len(failed), err))
		}
		select {
		case <-time.After(time.Second << try):
		case <-ctx.Done():
			return fail(ctx.Err())
		}
		if err := q.ensure(ctx); err != nil && ctx.Err() != nil {
			return fail(err)
		}
		todo = failed
	}
	return queued, nil
}

// publish queues shards, and returns which could not be and why.
func (q *Queue) publish(ctx context.Context, p *Plan, shards []int) (queued int, failed []int, err error) {
	type sent struct {
		shard int
		ack   jetstream.PubAckFuture
	}
	var waiting []sent
	missed := func(shard int, e error) {
		failed = append(failed, shard)
		err = e
	}
	wait := func(s sent) {
		select {
		case <-s.ack.Ok():
			queued++
		case e := <-s.ack.Err():
			if api := (*jetstream.APIError)(nil); errors.As(e, &api) && api.ErrorCode == stillQueued {
				return
			}
			missed(s.shard, e)
		case <-ctx.Done():
			missed(s.shard, ctx.Err())
		}
	}
	for i, shard := range shards {
		if ctx.Err() != nil || len(failed) > window { // the server is gone
			failed = append(failed, shards[i:]...)
			break
		}
		text, e := json.Marshal(message{p.ID, p.Output, shard, int64(shard) * int64(p.ShardSize), p.size(shard)})
		if e != nil {
			return queued, failed, e
		}
		ack, e := q.js.PublishAsync(q.subject(p.ID, shard), text, jetstream.WithExpectStream(q.stream()))
		if e != nil {
			missed(shard, e)
			continue
		}
		if waiting = append(waiting, sent{shard, ack}); len(waiting) == window {
			wait(waiting[0])
			waiting = waiting[1:]
		}
	}
	for _, s := range waiting {
		wait(s)
	}
	return queued, failed, err
}
