package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
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
// It can be kept as JSON with an unfinished training.
type trainingLog struct {
	Curves []report.LossCurve
	Steps  []int // last step of each row
	Epochs []int
	Sums   []float64 // of the row to come, over Count steps
	Count  int
}

// note returns the log as a text.
func (l *trainingLog) note() (string, error) {
	text, err := json.Marshal(l)
	return string(text), err
}

// recall takes over a log that note returned.
func (l *trainingLog) recall(text string) error {
	var old trainingLog
	if err := json.Unmarshal([]byte(text), &old); err != nil {
		return fmt.Errorf("log of the losses: %w", err)
	}
	for _, c := range old.Curves {
		if len(c.Values) != len(old.Steps) || len(old.Epochs) != len(old.Steps) || len(old.Sums) != len(old.Curves) {
			return fmt.Errorf("log of the losses: %d rows, %d values of %s", len(old.Steps), len(c.Values), c.Name)
		}
	}
	*l = old
	return nil
}

// add takes over the losses of a step.
func (l *trainingLog) add(p models.Progress) {
	if l.Curves == nil {
		for _, loss := range p.Losses {
			l.Curves = append(l.Curves, report.LossCurve{Name: loss.Name})
		}
		l.Sums = make([]float64, len(p.Losses))
	}
	for i, loss := range p.Losses {
		l.Sums[i] += loss.Value
	}
	l.Count++
	if l.Count < (p.Steps+logRows-1)/logRows && p.Step < p.Steps {
		return
	}
	for i := range l.Curves {
		l.Curves[i].Values = append(l.Curves[i].Values, l.Sums[i]/float64(l.Count))
		l.Sums[i] = 0
	}
	l.Steps, l.Epochs, l.Count = append(l.Steps, p.Step), append(l.Epochs, p.Epoch), 0
}

// writeCSV writes a row for each entry: step, epoch and the losses.
func (l *trainingLog) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	header := []string{"step", "epoch"}
	for _, curve := range l.Curves {
		header = append(header, curve.Name)
	}
	c.Write(header)
	for r := range l.Steps {
		rec := []string{strconv.Itoa(l.Steps[r]), strconv.Itoa(l.Epochs[r])}
		for _, curve := range l.Curves {
			rec = append(rec, strconv.FormatFloat(curve.Values[r], 'g', 6, 64))
		}
		c.Write(rec)
	}
	c.Flush()
	return c.Error()
}

// writePNG draws the curves.
func (l *trainingLog) writePNG(w io.Writer) error { return report.WriteLosses(w, l.Steps, l.Curves) }

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
