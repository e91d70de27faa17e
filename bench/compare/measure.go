package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/nlnctl/nlnctl/bench/results"
	"github.com/nlnctl/nlnctl/bench/workload"
)

// A runner runs a plan.
type runner struct {
	plan   plan
	bin    string // folder of our programs
	python string
	peers  string // folder of the other side's
	work   string // folder for what is prepared
	data   string // folder of real data, "" for none
	say    func(format string, args ...any)
	found  *results.Comparison
}

func (r *runner) program(name string) string { return filepath.Join(r.bin, name) }

func (r *runner) dir(f folder) string {
	return filepath.Join(r.work, r.kind(f), strings.ReplaceAll(f.name(), "/", "-"))
}

// kind returns where the images of a folder come from.
func (r *runner) kind(f folder) string {
	switch {
	case r.data == "":
		return "synth"
	case f.channels() == "1":
		return "mnist"
	}
	return "cifar-10"
}

// source returns the data set of a folder.
func (r *runner) source(f folder) string {
	if r.data == "" {
		return "synth:"
	}
	return r.kind(f) + ":" + filepath.Join(r.data, r.kind(f))
}

// prepare makes a folder unless it is there; what it takes is not counted.
func (r *runner) prepare(ctx context.Context, f folder) error {
	dir := r.dir(f)
	meta, err := workload.ReadMeta(dir)
	if err != nil {
		r.say("preparing %s", f.name())
		argv := []string{r.program("ours"), "-task", "prepare", "-dir", dir, "-source", r.source(f), "-preset", f.preset,
			"-latent", fmt.Sprint(f.latent), "-channels", f.channels(), "-threads", fmt.Sprint(r.processors())}
		if f.trainOnly {
			argv = append(argv, "-train-only", "-images", "4096")
		}
		if _, _, err := launch(ctx, r.processors(), argv...); err != nil {
			return err
		}
		if meta, err = workload.ReadMeta(dir); err != nil {
			return err
		}
	}
	for _, d := range r.found.Data {
		if d.Name == f.name() {
			return nil
		}
	}
	r.found.Data = append(r.found.Data, results.Data{Name: f.name(), Source: meta.Data, Entries: meta.Entries, Trained: meta.Images})
	return nil
}

// processors is how many the program itself uses: two, if there are so many.
func (r *runner) processors() int { return min(2, r.found.Machine.Processors) }

// argv returns the command of a worker.
func (r *runner) argv(g group, w way) []string {
	if w.name == ours {
		return []string{r.program("ours"), "-task", g.task, "-dir", r.dir(g.folder)}
	}
	return []string{r.python, filepath.Join(r.peers, "worker.py"), g.task, w.name, "--dir", r.dir(g.folder)}
}

// group measures the cases of a group: starts a worker of each way, checks that
// their answers agree, and lets them work in turn.
func (r *runner) group(ctx context.Context, g group) error {
	if err := r.prepare(ctx, g.folder); err != nil {
		return err
	}
	workers, err := r.start(ctx, g)
	if err == nil {
		err = r.agree(g, workers)
	}
	for i := 0; err == nil && i < len(g.cells); i++ {
		err = r.cell(g, g.cells[i], workers)
	}
	peak := results.Peak{Name: g.name(), Ways: map[string]float64{}}
	for _, w := range workers {
		mb, end := w.close()
		if err == nil && end != nil {
			err = fmt.Errorf("compare: %s: %w\n%s", w.way.name, end, w.said.text)
		}
		if w.way.name == ours {
			peak.Ours = mb
		} else {
			peak.Ways[w.way.name] = mb
		}
	}
	if err == nil && g.task == "train" {
		r.found.Peaks = append(r.found.Peaks, peak)
	}
	return err
}

func (r *runner) start(ctx context.Context, g group) (workers []*worker, err error) {
	for _, w := range ways[g.task] {
		answer := filepath.Join(r.work, fmt.Sprintf("answer-%s-%s.json", g.task, w.name))
		p, err := startWorker(ctx, w, g.threads, answer, r.argv(g, w)...)
		if err != nil {
			return workers, err
		}
		workers = append(workers, p)
	}
	return workers, nil
}

// agree compares the answers of all ways with ours, which come first.
func (r *runner) agree(g group, workers []*worker) error {
	var s space
	if g.task == "search" {
		var err error
		s.dim = g.folder.latent
		if s.vectors, err = workload.ReadFloats(r.dir(g.folder), workload.LatentFile); err != nil {
			return err
		}
		if s.queries, err = workload.ReadFloats(r.dir(g.folder), workload.QueryLatentFile); err != nil {
			return err
		}
	}
	for _, w := range workers[1:] {
		text, recall, err := agreement(g.task, w.way.name != "hnsw", workers[0].answer, w.answer, s)
		if err != nil {
			return fmt.Errorf("%s, %s and %s: %w", g.name(), ours, w.way.name, err)
		}
		w.recall = recall
		r.found.Checks = append(r.found.Checks, results.Check{Name: g.name(), Way: w.way.name, Result: text})
	}
	return nil
}

// cell measures one case.
func (r *runner) cell(g group, c cell, workers []*worker) error {
	rates, err := turns(c.req, r.plan.rounds[g.task], workers)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	k := results.Case{Name: c.name, Unit: units[g.task], Ours: results.Of(rates[ours])}
	line := ""
	for _, w := range workers[1:] {
		if rates[w.way.name] == nil {
			continue
		}
		p := results.Peer{Way: w.way.name, Rate: results.Of(rates[w.way.name]), Recall: w.recall,
			Ratio: results.Over(rates[ours], rates[w.way.name])}
		if w.way.target != nil {
			p.Target = w.way.target(g.folder)
		}
		k.Peers = append(k.Peers, p)
		line += fmt.Sprintf(", %.2f times %s", p.Ratio.Median, p.Way)
	}
	r.say("%s: %.0f %s%s", c.name, k.Ours.Median, k.Unit, line)
	r.found.Cases = append(r.found.Cases, k)
	return nil
}

// turns lets workers work one after the other, several times.
func turns(req workload.Request, rounds int, workers []*worker) (map[string][]float64, error) {
	rates := map[string][]float64{}
	for round := range rounds {
		for _, w := range workers {
			if w.way.rounds > 0 && round >= w.way.rounds || w.way.batches && req.Mode == "single" {
				continue
			}
			mine := req
			if w.way.oneCall {
				mine.Seconds = 0
			}
			reply, err := w.ask(mine)
			if err != nil {
				return nil, err
			}
			rates[w.way.name] = append(rates[w.way.name], reply.Rate())
		}
	}
	return rates, nil
}
