package main

import (
	"fmt"
	"path"
	"runtime"
	"strings"

	"github.com/nlnctl/nlnctl/bench/workload"
)

// A folder is one that both sides read.
type folder struct {
	preset    string
	shape     string // as in "28x28x1"
	latent    int
	trainOnly bool
}

func (f folder) name() string { return fmt.Sprintf("%s/%s/L%d", f.preset, f.shape, f.latent) }

func (f folder) channels() string { return f.shape[strings.LastIndex(f.shape, "x")+1:] }

// A way is how a task is done: by us, or by a peer.
type way struct {
	name    string
	target  func(folder) float64 // of our speed over its; nil: none
	rounds  int                  // at most; 0: all
	oneCall bool                 // a turn is one call, being slow
	batches bool                 // it does batches only
}

const ours = "ours"

func at(target float64) func(folder) float64 { return func(folder) float64 { return target } }

// ways are how each task is done, ours first.
var ways = map[string][]way{
	"train": {{name: ours}, {name: "eager", target: at(2)}, {name: "tuned", target: at(1.05)}},
	"search": {{name: ours},
		{name: "flat", target: func(f folder) float64 {
			if f.latent > 32 {
				return 1.4
			}
			return 2
		}},
		{name: "hnsw"},
		{name: "balltree", target: at(80), rounds: 2, oneCall: true, batches: true}},
	"score": {{name: ours},
		{name: "authors", target: at(40), rounds: 1, oneCall: true},
		{name: "decode", target: at(3)}, {name: "cached", target: at(1.3)}},
}

// units name what a task does.
var units = map[string]string{"train": "images/s", "search": "queries/s", "score": "images/s"}

// A group is the cases that one set of workers can do: one task on one folder
// with some threads.
type group struct {
	task    string
	folder  folder
	threads int
	cells   []cell
}

// A cell is a case of a group.
type cell struct {
	name string
	req  workload.Request
}

func (g group) name() string {
	return fmt.Sprintf("%s/%s/threads%d", g.task, g.folder.name(), g.threads)
}

// A plan is what to measure, and how long.
type plan struct {
	groups []group
	rounds map[string]int // turns of each worker, by task
	files  int            // small image files
	large  int            // large ones
	passes int            // over the small ones, in the long run
	starts int            // of each program
}

// limits on time: with these all takes some twenty-five minutes on two quiet
// cores, most of it starting workers.
var (
	full = plan{rounds: map[string]int{"train": 3, "search": 5, "score": 3}, files: 60000, large: 24, passes: 17, starts: 5}
	fast = plan{rounds: map[string]int{"train": 3, "search": 3, "score": 3}, files: 6000, large: 4, passes: 3, starts: 3}
)

// seconds of a turn, by task.
var seconds = map[string]float64{"train": 1, "search": .25, "score": .5}

// newPlan returns the cases whose names wanted accepts.
func newPlan(quick bool, wanted func(name string) bool) plan {
	p, shapes, latents, ks, threads := full, []string{"28x28x1", "32x32x3"}, []int{32, 128}, []int{1, 3, 5}, []int{1, 2}
	if quick {
		p, shapes, latents, ks, threads = fast, shapes[:1], latents[:1], []int{3}, threads[:1]
	}
	for _, shape := range shapes {
		for _, latent := range latents {
			paper := folder{preset: "paper", shape: shape, latent: latent}
			code := folder{preset: "code", shape: shape, latent: latent, trainOnly: true}
			for _, t := range threads {
				if t > runtime.NumCPU() {
					continue
				}
				p.add(group{task: "train", folder: paper, threads: t}, wanted, nil)
				p.add(group{task: "train", folder: code, threads: t}, wanted, nil)
				p.add(group{task: "search", folder: paper, threads: t}, wanted, ks, "batch", "single")
				p.add(group{task: "score", folder: paper, threads: t}, wanted, ks, "")
			}
		}
	}
	return p
}

// add adds a group with its cases that are wanted, if there are any: one for
// each K and mode.
func (p *plan) add(g group, wanted func(string) bool, ks []int, modes ...string) {
	req := workload.Request{Seconds: seconds[g.task]}
	if ks == nil && wanted(g.name()) {
		g.cells = append(g.cells, cell{g.name(), req})
	}
	for _, mode := range modes {
		for _, k := range ks {
			req.Mode, req.K = mode, k
			if name := path.Join(g.name(), mode, fmt.Sprintf("K%d", k)); wanted(name) {
				g.cells = append(g.cells, cell{name, req})
			}
		}
	}
	if len(g.cells) > 0 {
		p.groups = append(p.groups, g)
	}
}
