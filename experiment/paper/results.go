package paper

import (
	"encoding/csv"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

// A file is one that is written beside the report.
type file struct {
	name  string
	write func(w io.Writer) error
}

// resultAlphas are the weights of totals in results.csv: those that the paper and the
// tables name, and 1 − alpha of each.
var resultAlphas = func() map[int]bool {
	weights := map[int]bool{}
	for _, a := range []float64{.2, .4, .5, .75, .9, fixedAlpha} {
		weights[millionths(a)], weights[millionths(1-a)] = true, true
	}
	return weights
}()

// resultsFile has a line for each result of each record, whichever of their settings
// the tables are of; totals of resultAlphas alone.
func resultsFile(records []experiment.Record) file {
	titles := []string{"data", "protocol", "class", "method", "latent", "seed", "steps",
		"evaluation", "score", "k", "alpha", "auroc", "lo", "hi", "preset", "settings", "train_images", "cell"}
	return file{"results.csv", func(w io.Writer) error {
		out := csv.NewWriter(w)
		if err := out.Write(titles); err != nil {
			return err
		}
		for _, rec := range records {
			for _, r := range rec.Results {
				protocol, ok := listedUnder(r)
				if !ok {
					continue
				}
				line := append(cellColumns(rec), protocol, r.Score, strconv.Itoa(r.K), weight(r.Alpha), exact(r.AUROC), exact(r.Lo), exact(r.Hi))
				if err := out.Write(append(line, settingColumns(rec)...)); err != nil {
					return err
				}
			}
		}
		out.Flush()
		return out.Error()
	}}
}

// listedUnder returns the protocol by which results.csv lists a result, if it does: one
// that no scaling changes is listed once, for both.
func listedUnder(r nln.Result) (string, bool) {
	switch base, _, _ := strings.Cut(r.Score, ":"); base {
	case nln.ScoreTotal:
		return r.Protocol, resultAlphas[millionths(r.Alpha)]
	case nln.ScoreSum3:
		return r.Protocol, true
	}
	return "both", r.Protocol == nln.ProtocolPaper
}

// pixelsFile has a line for each result of pixels, if there are any.
func pixelsFile(records []experiment.Record) (file, bool) {
	if !slices.ContainsFunc(records, func(r experiment.Record) bool { return len(r.Pixels) > 0 }) {
		return file{}, false
	}
	titles := []string{"data", "protocol", "class", "method", "latent", "seed", "steps",
		"evaluation", "score", "k", "alpha", "pixel_auroc", "iou_test_tuned", "preset", "settings", "train_images", "cell"}
	return file{"pixels.csv", func(w io.Writer) error {
		out := csv.NewWriter(w)
		if err := out.Write(titles); err != nil {
			return err
		}
		for _, rec := range records {
			for _, r := range rec.Pixels {
				line := append(cellColumns(rec), r.Protocol, r.Score, strconv.Itoa(r.K), weight(r.Alpha), exact(r.AUROC), exact(r.IoU))
				if err := out.Write(append(line, settingColumns(rec)...)); err != nil {
					return err
				}
			}
		}
		out.Flush()
		return out.Error()
	}}, true
}

func cellColumns(rec experiment.Record) []string {
	c := rec.Cell
	return []string{c.Data, string(c.Protocol), c.Class, c.Method, strconv.Itoa(c.Latent), strconv.FormatUint(c.Seed, 10), strconv.Itoa(rec.Steps)}
}

func settingColumns(rec experiment.Record) []string {
	var settings string
	for _, name := range slices.Sorted(maps.Keys(rec.Cell.Settings)) {
		if settings != "" {
			settings += " "
		}
		settings += name + "=" + rec.Cell.Settings[name]
	}
	return []string{rec.Cell.Preset, settings, strconv.Itoa(rec.Cell.TrainImages), rec.Digest}
}

// exact writes a rate to six decimals, more than its test images allow to tell apart.
func exact(v float64) string { return strconv.FormatFloat(v, 'f', 6, 64) }
