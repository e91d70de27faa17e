package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/bench/workload"
)

// starts measures how long one image takes from nothing, in turn by our command
// and by Python, after a first time that brings files into memory.
func (r *runner) starts(ctx context.Context, f folder) error {
	if err := r.prepare(ctx, f); err != nil {
		return err
	}
	dir, threads := r.dir(f), r.processors()
	n := strconv.Itoa(threads)
	mine := []string{r.program("nlnctl"), "score", "-q", "--threads", n, "-m", filepath.Join(dir, workload.BundleDir), filepath.Join(dir, workload.ImageFile)}
	theirs := []string{r.python, filepath.Join(r.peers, "start.py"), dir, n}
	s := results.Start{Name: "start/" + f.name()}
	meta, err := workload.ReadMeta(dir)
	if err != nil {
		return err
	}
	s.Entries = meta.Entries
	if s.Ours.Libraries, _, err = r.once(ctx, r.program("ours"), "-task", "load", "-threads", n); err != nil {
		return err
	}
	if s.Peer.Libraries, _, err = r.once(ctx, r.python, filepath.Join(r.peers, "start.py"), "-", n); err != nil {
		return err
	}
	if err := r.sameStart(ctx, mine, theirs); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	var our, their []float64
	for range r.plan.starts {
		for _, side := range []struct {
			argv  []string
			times *[]float64
			peak  *float64
		}{{mine, &our, &s.Ours.Peak}, {theirs, &their, &s.Peer.Peak}} {
			mb, t, err := r.once(ctx, side.argv...)
			if err != nil {
				return err
			}
			*side.times = append(*side.times, t)
			*side.peak = max(*side.peak, mb)
		}
	}
	s.Ours.Seconds, s.Peer.Seconds = results.Of(our), results.Of(their)
	s.Ratio = results.Over(their, our).Median
	r.say("%s: %.2f s, %.0f MB beyond the libraries; Python %.2f s, %.0f MB", s.Name,
		s.Ours.Seconds.Median, s.Ours.Beyond(), s.Peer.Seconds.Median, s.Peer.Beyond())
	r.found.Starts = append(r.found.Starts, s)
	return nil
}

// once runs a command and returns its largest memory in MB and its seconds.
func (r *runner) once(ctx context.Context, argv ...string) (peak, seconds float64, err error) {
	start := time.Now()
	_, state, err := launch(ctx, r.processors(), argv...)
	if err != nil {
		return 0, 0, err
	}
	return peakMB(state), time.Since(start).Seconds(), nil
}

// sameStart makes sure that both sides score the image alike. The file has the
// image's pixels rounded to bytes, as the data set had them.
func (r *runner) sameStart(ctx context.Context, mine, theirs []string) error {
	out, _, err := launch(ctx, r.processors(), mine...)
	if err != nil {
		return err
	}
	var row struct{ Recon, Error, Distance float64 }
	if err := json.Unmarshal(out, &row); err != nil {
		return fmt.Errorf("compare: %q: %w", out, err)
	}
	if out, _, err = launch(ctx, r.processors(), theirs...); err != nil {
		return err
	}
	var terms [3][]float64
	if err := json.Unmarshal(out, &terms); err != nil {
		return fmt.Errorf("compare: %q: %w", out, err)
	}
	_, err = sameTerms(map[string]workload.Terms{"3": {Recon: []float64{row.Recon}, Error: []float64{row.Error}, Distance: []float64{row.Distance}}},
		map[string]workload.Terms{"3": {Recon: terms[0], Error: terms[1], Distance: terms[2]}})
	return err
}
