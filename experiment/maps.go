package experiment

import (
	"context"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

// measurePixels measures how well maps find the marked pixels: those of the plain
// reconstruction error, and of both terms for each number of neighbours and each alpha.
// Under the held-out protocol there are those of the settings' own number of neighbours
// alone: only its ranges over normal images are known.
func measurePixels(ctx context.Context, s *nln.Scorer, test *dataset.Set, c Cell) ([]PixelResult, error) {
	var all []PixelResult
	for i, k := range c.neighbors(s) {
		policy := s.Calibration().Policy()
		own := policy.K == k
		policy.K = k
		of, err := s.With(policy)
		if err != nil {
			return nil, err
		}
		some, err := measureMaps(ctx, of, test, c.Alpha, own, i == 0)
		if err != nil {
			return nil, err
		}
		for j := range some {
			some[j].K = k
			if some[j].Score == nln.ScoreRecon {
				some[j].K = 0
			}
		}
		all = append(all, some...)
	}
	return all, nil
}

// measureMaps measures the maps of one number of neighbours, which stay in memory, two
// values a pixel.
func measureMaps(ctx context.Context, s *nln.Scorer, test *dataset.Set, alphas []float64, own, recon bool) (all []PixelResult, err error) {
	plain := metrics.NewPixels()
	maps := make([]nln.Map, test.Len())
	paper := nln.Pixels{Error: nln.NoRange(), Distance: nln.NoRange()}
	err = s.EachMap(ctx, test, true, func(i int, m nln.Map) error {
		paper.Error.Widen(m.ErrorRange.Min, m.ErrorRange.Max)
		for _, v := range m.Distance {
			paper.Distance.Widen(float64(v), float64(v))
		}
		maps[i] = nln.Map{H: m.H, W: m.W, Error: m.Error, Distance: m.Distance}
		if !recon {
			return nil
		}
		return plain.Add(m.Recon, test.Masks[i], m.H, m.W)
	})
	if err != nil {
		return nil, err
	}
	if recon {
		for _, protocol := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
			if all, err = addPixels(all, PixelResult{Protocol: protocol, Score: nln.ScoreRecon, Alpha: 1}, plain); err != nil {
				return nil, err
			}
		}
	}
	ranges := map[string]nln.Pixels{nln.ProtocolPaper: paper}
	if p := s.Pixels(); p != nil && own {
		ranges[nln.ProtocolHeldOut] = *p
	}
	for _, protocol := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
		r, ok := ranges[protocol]
		if !ok {
			continue
		}
		for _, r.Alpha = range alphas {
			over := metrics.NewPixels()
			for i, m := range maps {
				if err := over.Add(r.Mix(m), test.Masks[i], m.H, m.W); err != nil {
					return nil, err
				}
			}
			if all, err = addPixels(all, PixelResult{Protocol: protocol, Score: nln.ScoreTotal, Alpha: r.Alpha}, over); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func addPixels(all []PixelResult, r PixelResult, p *metrics.Pixels) ([]PixelResult, error) {
	var err error
	if r.AUROC, err = p.AUROC(); err != nil {
		return nil, err
	}
	cut, err := p.Youden()
	r.IoU = cut.IoU
	return append(all, r), err
}
