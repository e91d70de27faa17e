package cli

import (
	"context"
	"encoding/csv"
	"io"
	"strconv"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/report"
)

// logRows is how many rows a training log has at most, about.
const logRows = 500

// A trainingLog keeps the losses of a training, as means over some steps each.
type trainingLog struct {
	curves []report.LossCurve
	steps  []int // last step of each row
	epochs []int
	sums   []float64
	count  int
}

// add takes over the losses of a step.
func (l *trainingLog) add(p models.Progress) {
	if l.curves == nil {
		for _, loss := range p.Losses {
			l.curves = append(l.curves, report.LossCurve{Name: loss.Name})
		}
		l.sums = make([]float64, len(p.Losses))
	}
	for i, loss := range p.Losses {
		l.sums[i] += loss.Value
	}
	l.count++
	if l.count < (p.Steps+logRows-1)/logRows && p.Step < p.Steps {
		return
	}
	for i := range l.curves {
		l.curves[i].Values = append(l.curves[i].Values, l.sums[i]/float64(l.count))
		l.sums[i] = 0
	}
	l.steps, l.epochs, l.count = append(l.steps, p.Step), append(l.epochs, p.Epoch), 0
}

// writeCSV writes a row for each entry: step, epoch and the losses.
func (l *trainingLog) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	header := []string{"step", "epoch"}
	for _, curve := range l.curves {
		header = append(header, curve.Name)
	}
	c.Write(header)
	for r := range l.steps {
		rec := []string{strconv.Itoa(l.steps[r]), strconv.Itoa(l.epochs[r])}
		for _, curve := range l.curves {
			rec = append(rec, strconv.FormatFloat(curve.Values[r], 'g', 6, 64))
		}
		c.Write(rec)
	}
	c.Flush()
	return c.Error()
}

// writePNG draws the curves.
func (l *trainingLog) writePNG(w io.Writer) error { return report.WriteLosses(w, l.steps, l.curves) }

// shownReconstructions is how many held-out images are shown with their
// reconstructions.
const shownReconstructions = 24

// writeReconstructions draws images spread over set above their reconstructions.
func writeReconstructions(ctx context.Context, w io.Writer, m *models.Autoencoder, set *dataset.Set) error {
	n := min(shownReconstructions, set.Len())
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i * set.Len() / n
	}
	size := set.Shape().Len()
	x := set.Gather(ids, make([]float32, n*size))
	z, xhat := make([]float32, n*m.LatentDim()), x
	xhat.Pix = make([]float32, n*size)
	if err := m.Encode(ctx, x, z); err != nil {
		return err
	}
	if err := nln.Reconstruct(ctx, m, x, z, xhat.Pix); err != nil {
		return err
	}
	return report.WriteReconstructions(w, x, xhat)
}
