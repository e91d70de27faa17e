package main

import (
	"context"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
)

// limits measures what the device gives at best.
func (b *bench) limits(context.Context) error {
	side, values := 4096, 256<<20
	if b.small {
		side, values = 512, 1<<20
	}
	stream, err := torch.NewStream(b.dev)
	if err != nil {
		return err
	}
	defer stream.Close()
	host, err := torch.NewStaging[uint8](values)
	if err != nil {
		return err
	}
	defer host.Close()
	return torch.Run(func() error {
		s := torch.NewScope(b.dev)
		defer s.Close()
		x, y := s.Full(1.5, side, side), s.Full(.5, side, side)
		from, to := s.Full(1, values/4), s.Full(0, values/4)
		bytes := s.FromBytes(make([]uint8, values), values)
		for _, m := range []struct {
			dst  *float64
			work float64
			unit float64
			keep []*torch.Tensor
			f    func()
		}{
			{&b.report.GEMM, 2 * float64(side) * float64(side) * float64(side), 1e12, nil, func() { x.MatMul(y) }},
			{&b.report.Copy, 2 * float64(values), 1e9, nil, func() { to.Assign(from) }},
			{&b.report.Upload, float64(values), 1e9, nil, func() { bytes.Assign(host.In(s)) }},
		} {
			seconds, err := b.best(stream, s, m.f, x, y, from, to, bytes)
			if err != nil {
				return err
			}
			*m.dst = m.work / seconds / m.unit
		}
		return s.Err()
	})
}

// best returns the shortest time of f in the stream, of runs that take about the
// seconds of a measurement; keep are the tensors that f needs again.
func (b *bench) best(stream *torch.Stream, s *torch.Scope, f func(), keep ...*torch.Tensor) (float64, error) {
	shortest := 0.0
	begin := time.Now()
	for i := 0; i < 3 || time.Since(begin).Seconds() < b.seconds/2; i++ {
		start := time.Now()
		err := stream.Do(func() error {
			f()
			return s.Err()
		})
		if err == nil {
			err = stream.Wait()
		}
		if err != nil {
			return 0, err
		}
		// The first has the libraries load and tune themselves.
		if t := time.Since(start).Seconds(); i == 1 || i > 1 && t < shortest {
			shortest = t
		}
		s.Release(keep...)
	}
	return shortest, nil
}
