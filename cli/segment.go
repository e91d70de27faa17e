package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/nln/metrics"
)

// A segmentation says how well one kind of map finds the marked pixels of a test set.
type segmentation struct {
	Protocol string  `json:"protocol"` // of the score that mixes error and distance
	Map      string  `json:"map"`      // nln.ScoreRecon, ScoreError, ScoreDistance or ScoreTotal
	AUROC    float64 `json:"auroc"`    // over all pixels of all images
	AP       float64 `json:"average_precision"`
	AUPRO    float64 `json:"aupro"` // up to a false-positive rate of 0.3
	F1       float64 `json:"f1_max"`

	// IoU is at the threshold with the largest TPR - FPR, chosen on the test masks as
	// the paper's authors did. NormalIoU is at the bundle's own threshold for pixels,
	// which knows normal images alone; only the held-out total has one.
	IoU       float64  `json:"iou_test_tuned"`
	NormalIoU *float64 `json:"iou_normal_threshold,omitempty"`
}

// segment measures the maps of the test images, in two passes: the first has all but
// the paper's protocol, which scales by the ranges over the test set that it finds.
func segment(ctx context.Context, b *bundle.Bundle, test *dataset.Set, m *meter) ([]segmentation, error) {
	s := b.Scorer
	pixels := s.Pixels()
	if pixels == nil || test.Masks == nil {
		return nil, nil
	}
	kinds := []struct {
		protocol, name string
		of             func(nln.Map) []float32
	}{
		{nln.ProtocolHeldOut, nln.ScoreRecon, func(m nln.Map) []float32 { return m.Recon }},
		{nln.ProtocolHeldOut, nln.ScoreError, func(m nln.Map) []float32 { return m.Error }},
		{nln.ProtocolHeldOut, nln.ScoreDistance, func(m nln.Map) []float32 { return m.Distance }},
		{nln.ProtocolHeldOut, nln.ScoreTotal, func(m nln.Map) []float32 { return m.Score }},
	}
	over := make([]*metrics.Pixels, len(kinds)+1)
	for i := range over {
		over[i] = metrics.NewPixels()
	}
	paper := nln.Pixels{K: pixels.K, Alpha: pixels.Alpha, Error: nln.NoRange(), Distance: nln.NoRange()}
	err := eachMap(ctx, s, test, true, m, "maps", func(i int, mp nln.Map) error {
		paper.Error.Widen(mp.ErrorRange.Min, mp.ErrorRange.Max)
		for _, v := range mp.Distance {
			paper.Distance.Widen(float64(v), float64(v))
		}
		for j, k := range kinds {
			if err := over[j].Add(k.of(mp), test.Masks[i], mp.H, mp.W); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachMap(ctx, s, test, false, m, "maps by the paper's protocol", func(i int, mp nln.Map) error {
		mp.Score = paper.Mix(mp)
		return over[len(kinds)].Add(mp.Score, test.Masks[i], mp.H, mp.W)
	})
	if err != nil {
		return nil, err
	}
	var all []segmentation
	for j, p := range over {
		r := segmentation{Protocol: nln.ProtocolPaper, Map: nln.ScoreTotal}
		if j < len(kinds) {
			r.Protocol, r.Map = kinds[j].protocol, kinds[j].name
		}
		if err := r.measure(p); err != nil {
			return nil, err
		}
		if r.Protocol == nln.ProtocolHeldOut && r.Map == nln.ScoreTotal {
			cut, err := p.At(pixels.Threshold(nln.DefaultPixelFPR))
			if err != nil {
				return nil, err
			}
			r.NormalIoU = &cut.IoU
		}
		all = append(all, r)
	}
	return all, nil
}

// mapImages is how many images are mapped at a time: a map takes several times the
// memory of its image.
const mapImages = 8

// eachMap calls f with the map of each test image, in order, and shows how far it is.
func eachMap(ctx context.Context, s *nln.Scorer, test *dataset.Set, recon bool, m *meter, what string, f func(i int, mp nln.Map) error) error {
	err := s.EachMap(ctx, test, recon, func(i int, mp nln.Map) error {
		m.show("%s: %d of %d images", what, i+1, test.Len())
		return f(i, mp)
	})
	m.clear()
	return err
}

func (r *segmentation) measure(p *metrics.Pixels) (err error) {
	if r.AUROC, err = p.AUROC(); err != nil {
		return err
	}
	if r.AP, err = p.AveragePrecision(); err != nil {
		return err
	}
	if r.AUPRO, err = p.AUPRO(metrics.AUPROLimit); err != nil {
		return err
	}
	f1, err := p.F1Max()
	if err != nil {
		return err
	}
	youden, err := p.Youden()
	r.F1, r.IoU = f1.F1(), youden.IoU
	return err
}

// printSegmentation writes the table of maps.
func printSegmentation(out io.Writer, rows []segmentation) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\nover all pixels; IoU at a threshold chosen on the test masks, and at the bundle's own\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "map\tscaled by\tAUROC\tavg. precision\tAUPRO\tF1-max\tIoU test-tuned\tIoU own\t\n")
	for _, r := range rows {
		own := ""
		if r.NormalIoU != nil {
			own = fmt.Sprintf("%.4f", *r.NormalIoU)
		}
		scaled := ""
		if r.Map == nln.ScoreTotal {
			scaled = r.Protocol
		}
		fmt.Fprintf(w, "%s\t%s\t%.4f\t%.4f\t%.4f\t%.4f\t%.4f\t%s\t\n", r.Map, scaled, r.AUROC, r.AP, r.AUPRO, r.F1, r.IoU, own)
	}
	return w.Flush()
}
