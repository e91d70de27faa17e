// Command compare runs this project's side and the others' in turn, checks that
// both find the same, and writes the page docs/benchmarks.md with the ratios.
//
//	compare                     all of it; about twenty-five minutes on a quiet machine
//	compare -quick              a part; about three
//	compare -only '^search/'    the cases whose names match
//	compare -check -again 2     a part, against the ratios that are kept
//	compare -render             nothing; writes the page again from the numbers
//
// Programs are those that "make bench-programs" builds.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/bench/results"
)

// options are what the command line says.
type options struct {
	quick, check bool
	update       bool
	render       bool
	only, out    string
	again        int
	bin, python  string
	peers, work  string
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "a part, with fewer turns")
	flag.StringVar(&o.only, "only", "", "only cases whose names match `REGEXP`")
	flag.BoolVar(&o.update, "update", false, "put the cases of -only in the place of those that are kept")
	flag.StringVar(&o.out, "out", "", "write to this `FOLDER` (default: the repository, or build/bench/part for a part)")
	flag.BoolVar(&o.check, "check", false, "compare a part with the ratios in the repository instead of writing")
	flag.BoolVar(&o.render, "render", false, "measure nothing, and write the page of the numbers that are kept")
	flag.IntVar(&o.again, "again", 2, "with -check, how many `TIMES` to measure a worse case again")
	flag.StringVar(&o.bin, "bin", "build/bin", "`FOLDER` of the programs")
	flag.StringVar(&o.python, "python", "/usr/bin/python3", "the `PYTHON` of the peers")
	flag.StringVar(&o.peers, "peers", "bench/peers", "`FOLDER` of the peers")
	flag.StringVar(&o.work, "work", "build/bench", "`FOLDER` for what is prepared")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("compare: -only: %w", err)
	}
	if err := os.MkdirAll(o.work, 0o755); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	r := &runner{bin: o.bin, python: o.python, peers: o.peers, work: o.work, data: os.Getenv("NLN_DATA"),
		say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, "compare: "+format+"\n", args...) }}
	switch {
	case o.render:
		kept, err := results.Read(cmp.Or(o.out, "."))
		if err != nil {
			return err
		}
		return kept.Save(cmp.Or(o.out, "."))
	case o.check:
		return r.check(ctx, o.again, only.MatchString)
	}
	start := time.Now()
	if err := r.begin(ctx, strings.Join(append([]string{"compare"}, os.Args[1:]...), " ")); err != nil {
		return err
	}
	r.plan = newPlan(o.quick, only.MatchString)
	if err := r.all(ctx, o.quick, only.MatchString); err != nil {
		return err
	}
	r.found.Minutes = time.Since(start).Minutes()
	return r.save(o)
}

// save writes the page: a part of it never over the whole.
func (r *runner) save(o options) error {
	switch {
	case o.out != "":
	case o.update:
		o.out = "."
	case o.quick || o.only != "":
		o.out = filepath.Join(o.work, "part")
	default:
		o.out = "."
	}
	all, err := results.Read(o.out)
	if err != nil {
		return err
	}
	if o.update && all.Comparison != nil {
		all.Comparison.Update(r.found)
	} else {
		all.Comparison = r.found
	}
	if err := all.Save(o.out); err != nil {
		return err
	}
	r.say("wrote %s and %s", filepath.Join(o.out, results.Page), filepath.Join(o.out, results.File))
	return nil
}

// begin makes a new, empty comparison.
func (r *runner) begin(ctx context.Context, command string) error {
	r.found = &results.Comparison{Stamp: results.NewStamp(command)}
	for name, argv := range map[string][]string{
		"ours":  {r.program("nlnctl"), "version", "--json"},
		"peers": {r.python, filepath.Join(r.peers, "worker.py"), "versions"},
	} {
		out, _, err := launch(ctx, 1, argv...)
		if err != nil {
			return err
		}
		if err := addVersions(r.found.Libraries, name, out); err != nil {
			return err
		}
	}
	return nil
}

// addVersions adds to versions what one side printed.
func addVersions(versions map[string]string, side string, out []byte) error {
	var found map[string]any
	if err := json.Unmarshal(out, &found); err != nil {
		return fmt.Errorf("compare: versions of %s: %w", side, err)
	}
	if native, ok := found["native"].(map[string]any); ok {
		for _, name := range []string{"libtorch", "onednn", "faiss"} {
			versions[name], _ = native[name].(string)
		}
		return nil
	}
	for name, v := range found {
		versions[name+" of Python"], _ = v.(string)
	}
	return nil
}

// all runs the plan.
func (r *runner) all(ctx context.Context, quick bool, wanted func(string) bool) error {
	for _, g := range r.plan.groups {
		if err := r.group(ctx, g); err != nil {
			return err
		}
	}
	small := folder{preset: "paper", shape: "28x28x1", latent: 32}
	wide := small
	wide.latent = 128
	parts := []struct {
		name string
		run  func() error
		long bool
	}{
		{"start/" + small.name(), func() error { return r.starts(ctx, small) }, false},
		{"start/" + wide.name(), func() error { return r.starts(ctx, wide) }, true},
		{"files/28x28x1/threads1", func() error { return r.smallFiles(ctx, small, 1) }, true},
		{"files/28x28x1/threads2", func() error { return r.smallFiles(ctx, small, r.processors()) }, false},
		{"files/megapixel", func() error { return r.largeFiles(ctx, r.processors()) }, false},
		{"stream", func() error { return r.stream(ctx, small) }, false},
		{"roofline/threads1", func() error { return r.roof(ctx, small, 1) }, false},
		{"roofline/threads2", func() error { return r.roof(ctx, small, 2) }, true},
	}
	for _, p := range parts {
		if quick && p.long || !wanted(p.name) || strings.HasSuffix(p.name, "threads2") && r.processors() < 2 {
			continue
		}
		if err := p.run(); err != nil {
			return err
		}
	}
	return nil
}

// roof measures how near the stages are to the machine's limits.
func (r *runner) roof(ctx context.Context, f folder, threads int) error {
	if err := r.prepare(ctx, f); err != nil {
		return err
	}
	out, _, err := launch(ctx, threads, r.program("roofline"), "-threads", fmt.Sprint(threads), "-dir", r.dir(f))
	if err != nil {
		return err
	}
	var roof results.Roof
	if err := json.Unmarshal(out, &roof); err != nil {
		return fmt.Errorf("compare: roofline: %w", err)
	}
	r.say("roofline/threads%d: %.0f GFLOP/s, %.1f GB/s", threads, roof.GEMM, roof.Copy)
	r.found.Roofs = append(r.found.Roofs, roof)
	return nil
}
