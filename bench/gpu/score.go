package main

import (
	"context"
	"fmt"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/engine"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// A detector is an untrained model with an index and an engine: what it computes takes
// as long as that of a trained one.
type detector struct {
	size    dataset.Shape
	filters string
	model   *models.Autoencoder
	index   *faissindex.Index
	engine  *engine.Engine
	scorer  *nln.Scorer
}

func (b *bench) detector(ctx context.Context, size dataset.Shape, filters string, entries int) (_ *detector, err error) {
	cfg, err := models.Preset("paper", models.ArchAE, size)
	if err != nil {
		return nil, err
	}
	cfg.Filters = filters
	d := &detector{size: size, filters: filters}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.model, err = models.New(cfg, b.dev); err != nil {
		return d, err
	}
	if d.index, err = faissindex.New(cfg.Latent); err != nil {
		return d, err
	}
	fit := nln.DefaultConfig()
	fit.Uncalibrated = true
	if d.scorer, err = nln.Fit(ctx, d.model, d.index, noise(entries, size), noise(1, size).Subset(nil), fit); err != nil {
		return d, err
	}
	if d.engine, err = engine.New(d.scorer, engine.Options{}); err != nil {
		return d, err
	}
	d.scorer = d.scorer.WithEngine(d.engine)
	return d, nil
}

func (d *detector) close() {
	if d.engine != nil {
		d.engine.Close()
	}
	if d.index != nil {
		d.index.Close()
	}
	if d.model != nil {
		d.model.Close()
	}
}

// scoring returns a function that scores n images.
func (d *detector) scoring(ctx context.Context, n int) func() error {
	x := dataset.Bytes{Shape: d.size, N: n, Pix: noise(n, d.size).Pix, Scale: dataset.Scale255}
	var scores []nln.Score
	return func() (err error) {
		scores, err = d.scorer.ScoreBytes(ctx, x, scores[:0])
		return err
	}
}

// scoring measures images from memory to scores, and one image alone.
func (b *bench) scoring(ctx context.Context) error {
	entries := 60_000
	if b.small {
		entries = 500
	}
	small, colour := dataset.Shape{C: 1, H: 28, W: 28}, dataset.Shape{C: 3, H: 32, W: 32}
	for _, c := range []struct {
		size    dataset.Shape
		filters string
	}{{small, models.FiltersUp}, {small, models.FiltersConst}, {colour, models.FiltersUp}} {
		if err := b.score(ctx, c.size, c.filters, entries); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) score(ctx context.Context, size dataset.Shape, filters string, entries int) error {
	d, err := b.detector(ctx, size, filters, entries)
	if err != nil {
		return err
	}
	defer d.close()
	n := 4 * d.engine.Images()
	if b.small {
		n = 32
	}
	what := fmt.Sprintf("%v, filters %s, L=32, N=%d, K=3", size, filters, entries)
	all := d.scoring(ctx, n)
	r, err := b.compare(what, func() (float64, error) { return b.rate(n, all) },
		map[string]any{"task": "score", "filters": widths(filters), "shape": []int{size.C, size.H, size.W}, "latent": 32, "entries": entries, "k": 3, "batch": min(n, 4096)})
	if err != nil {
		return err
	}
	b.report.Scoring = append(b.report.Scoring, r)
	one := d.scoring(ctx, 1)
	r, err = b.compare(what+", one image, ms", func() (float64, error) {
		images, err := b.rate(1, one)
		return 1000 / images, err
	}, nil)
	if err != nil {
		return err
	}
	b.report.Latency = append(b.report.Latency, r)
	if size.C > 1 || filters != models.FiltersUp {
		return nil
	}
	return b.stages(d, entries)
}

// stages measures the parts of scoring by themselves, each as often as the images of a
// batch need it.
func (b *bench) stages(d *detector, entries int) error {
	n := 4096
	if b.small {
		n = 32
	}
	pixels, l, k := d.size.Len(), d.model.LatentDim(), 3
	stream, err := torch.NewStream(b.dev)
	if err != nil {
		return err
	}
	defer stream.Close()
	latents, err := torch.NewOwned(b.dev, vectors(entries, l, 3), entries, l)
	if err != nil {
		return err
	}
	defer latents.Close()
	near, err := torch.NewNear(b.dev, latents)
	if err != nil {
		return err
	}
	defer near.Close()
	return torch.Run(func() error {
		s := torch.NewScope(b.dev)
		defer s.Close()
		bytes := s.FromBytes(make([]uint8, n*pixels), n, d.size.C, d.size.H, d.size.W)
		x := bytes.ScaleImages(false)
		z := s.FromFloats(vectors(n, l, 4), n, l)
		table := s.FromBytes(make([]uint8, entries*pixels), entries, pixels)
		ids := s.FromIDs(make([]int64, n*k), n, k)
		network := convolutions(d.filters, d.size)
		for _, st := range []struct {
			what string
			work float64 // an image
			best float64 // of the device, a second
			f    func()
		}{
			{"scale (bytes read, values written)", 5 * float64(pixels), b.report.Copy * 1e9, func() { bytes.ScaleImages(false) }},
			{"encode (FLOP)", network, b.report.GEMM * 1e12, func() { d.model.EncodeTensor(x) }},
			{"search (FLOP of the products)", 2 * float64(entries*l), b.report.GEMM * 1e12, func() { near.Search(z, k) }},
			{"decode (FLOP)", network, b.report.GEMM * 1e12, func() { d.model.DecodeTensor(z) }},
			{"gather and compare (bytes read)", float64(k*pixels + 4*pixels), b.report.Copy * 1e9, func() { x.Reshape(n, pixels).MeanAbsRows(table, ids) }},
		} {
			seconds, err := b.best(stream, s, st.f, bytes, x, z, table, ids)
			if err != nil {
				return err
			}
			perImage := seconds / float64(n)
			b.report.Stages = append(b.report.Stages, stage{What: st.what, Micros: perImage * 1e6, Work: st.work, Share: st.work / perImage / st.best})
		}
		return s.Err()
	})
}

// convolutions returns the FLOP of the encoder for an image, or of the decoder, which
// mirrors it: those of the convolutions and of the dense layer with 32 latents.
func convolutions(filters string, size dataset.Shape) float64 {
	f := widths(filters)
	area := size.H * size.W
	return 2 * float64(4*size.C*f[0]*area+4*f[0]*f[1]*area/4+4*f[1]*f[2]*area/16+32*f[2]*area/16)
}
