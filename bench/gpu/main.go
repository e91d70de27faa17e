// Command gpu measures training, scoring and search on a device beside PyTorch on the
// same one, which bench/peers/gpu.py runs, and what the device gives at best. It
// writes one JSON object, a report.
//
//	gpu -device cuda:0 -peers bench/peers -o bench.json
//
// Each measurement is made in turn by both sides, three times, and the median ratio
// is kept beside the rates. It runs on the CPU too, without peers and with less of
// everything (-small), to try it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/cgo/torch"
)

// turns is how often each side measures.
const turns = 3

// A report is all that was measured on one device.
type report struct {
	Device   string          `json:"device"`
	Core     json.RawMessage `json:"core"` // of nln_info: versions, devices
	Machine  results.Machine `json:"machine"`
	GEMM     float64         `json:"gemm_tflops"` // float32 products of matrices of 4096 rows and columns
	Copy     float64         `json:"copy_gb_s"`   // read and written, within the device
	Upload   float64         `json:"upload_gb_s"` // from page-locked memory
	Training []row           `json:"training"`    // images/s
	Scoring  []row           `json:"scoring"`     // images/s
	Latency  []row           `json:"latency"`     // milliseconds for one image
	Search   []row           `json:"search"`      // queries/s
	Stages   []stage         `json:"stages"`      // of scoring
	Failed   []string        `json:"failed,omitempty"`
}

// A row is one measurement, ours beside the peer's.
type row struct {
	What  string  `json:"what"`
	Ours  float64 `json:"ours"`
	Peer  float64 `json:"peer,omitempty"`
	Ratio float64 `json:"ratio,omitempty"` // the median over the turns
}

// A stage is a part of scoring, done alone.
type stage struct {
	What   string  `json:"what"`
	Micros float64 `json:"micros_per_image"`
	Work   float64 `json:"work"`  // an image: FLOP or bytes
	Share  float64 `json:"share"` // of what the device gives at best
}

type bench struct {
	dev     torch.Device
	small   bool
	seconds float64
	peers   *peers // nil without
	report  report
}

func main() {
	device := flag.String("device", "auto", "cuda, cuda:N, cpu or auto")
	dir := flag.String("peers", "", "folder of the Python peers; none: ours alone")
	out := flag.String("o", "", "file for the report; none: standard output")
	small := flag.Bool("small", false, "fewer and smaller")
	seconds := flag.Float64("seconds", 1, "of each measurement")
	flag.Parse()
	if err := run(*device, *dir, *out, *small, *seconds); err != nil {
		fmt.Fprintln(os.Stderr, "gpu:", err)
		os.Exit(1)
	}
}

func run(device, dir, out string, small bool, seconds float64) (err error) {
	b := &bench{small: small, seconds: seconds}
	if b.dev, err = torch.FindDevice(device); err != nil {
		return err
	}
	if b.report.Core, err = torch.Info(); err != nil {
		return err
	}
	b.report.Device, b.report.Machine = b.dev.String(), results.ThisMachine()
	if dir != "" {
		if b.peers, err = startPeers(dir); err != nil {
			return err
		}
		defer b.peers.close()
	}
	ctx := context.Background()
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{{"limits", b.limits}, {"training", b.training}, {"scoring", b.scoring}, {"search", b.search}} {
		fmt.Fprintln(os.Stderr, "gpu:", part.name)
		if err := part.do(ctx); err != nil {
			// What has been measured is kept.
			b.report.Failed = append(b.report.Failed, fmt.Sprintf("%s: %v", part.name, err))
			fmt.Fprintf(os.Stderr, "gpu: %s: %v\n", part.name, err)
		}
	}
	text, err := json.MarshalIndent(b.report, "", "  ")
	if err != nil {
		return err
	}
	if out == "" {
		_, err = fmt.Println(string(text))
		return err
	}
	return os.WriteFile(out, append(text, '\n'), 0o644)
}

// compare measures ours and the peer's in turn. A peer that fails is left out of the
// row and noted.
func (b *bench) compare(what string, ours func() (float64, error), request map[string]any) (row, error) {
	var mine, theirs, ratios []float64
	for range turns {
		v, err := ours()
		if err != nil {
			return row{}, fmt.Errorf("%s: %w", what, err)
		}
		mine = append(mine, v)
		if b.peers == nil || request == nil {
			continue
		}
		request["seconds"] = b.seconds
		p, err := b.peers.ask(request)
		if err != nil {
			b.report.Failed = append(b.report.Failed, fmt.Sprintf("%s: peer: %v", what, err))
			request = nil
			continue
		}
		theirs, ratios = append(theirs, p), append(ratios, v/p)
	}
	r := row{What: what, Ours: median(mine), Peer: median(theirs), Ratio: median(ratios)}
	fmt.Fprintf(os.Stderr, "gpu: %s: %.4g, peer %.4g, ratio %.2f\n", r.What, r.Ours, r.Peer, r.Ratio)
	return r, nil
}

// median returns the middle of some values, 0 of none.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
