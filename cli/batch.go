package cli

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/batch"
	"github.com/nlnctl/nlnctl/bundle"
	ucli "github.com/urfave/cli/v2"
)

func batchCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "batch",
		Usage:     "score more images than one run should, each exactly once",
		UsageText: "nlnctl batch run|plan|submit|status|watch|cancel ...",
		Description: `INPUT and OUTPUT are folders or URLs of object stores (s3://, gs://, azblob://,
file://). What lies in INPUT is listed once and cut into shards; the plan lies in OUTPUT,
where each shard becomes one Parquet file under results/. _SUCCESS.json appears when all
are there, with counts that add up to the plan. Whatever ends a part of it, the same
command again does what is missing.

   nlnctl batch run -m parts.nln --input images/ --output scores/     on one machine

On several machines a NATS server with JetStream hands the shards out:

   nlnctl batch submit -m s3://b/parts.nln --input s3://b/images --output s3://b/scores --nats nats://host
   nlnctl worker --nats nats://host                                     on each machine
   nlnctl batch watch s3://b/scores --nats nats://host

Without one, "nlnctl batch plan" makes a plan and "nlnctl shard" does a shard of it by
its number.`,
		Subcommands: []*ucli.Command{batchRunCommand(env), batchPlanCommand(env), batchSubmitCommand(env), batchStatusCommand(env), batchWatchCommand(env), batchCancelCommand(env)},
		Action:      subcommandHelp,
	}
}

// planFlags are what makes a plan.
func planFlags() []ucli.Flag {
	return []ucli.Flag{
		&ucli.StringFlag{Name: "model", Aliases: []string{"m"}, Usage: "the `BUNDLE` to score with, a path or a URL, as workers are to open it", Required: true},
		&ucli.StringFlag{Name: "input", Usage: "score what lies in `INPUT`, or what a manifest FILE.csv|parquet names in its column image", Required: true},
		&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "keep plan and results in `OUTPUT`", Required: true},
		&ucli.BoolFlag{Name: "archives", Usage: "INPUT holds tar archives of images, each of which is a shard"},
		&ucli.IntFlag{Name: "shard-size", Value: 16384, Usage: "images in a shard, `N`"},
		&ucli.Float64Flag{Name: "fpr", Usage: "call at most this share of normal images novel, `X` in 0..1 (default: the bundle's)"},
		&ucli.Float64Flag{Name: "threshold", Usage: "call scores above `X` novel, instead of --fpr"},
		&ucli.StringFlag{Name: "heatmaps", Usage: "write heat maps to OUTPUT/heatmaps too, and the regions into the rows: some of `" + strings.Join(heatKinds, ",") + "`"},
	}
}

func batchRunCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "run",
		Usage:     "do all of it on this machine",
		UsageText: "nlnctl batch run -m BUNDLE --input INPUT --output OUTPUT [options]",
		Description: `Needs no server: the queue is a part of the process and keeps its state in the user's
cache directory, which may be lost.`,
		Flags: append(planFlags(), append([]ucli.Flag{threadsFlag(), logFlag(), quietFlag()}, append(gangFlags(), limitFlags()...)...)...),
		Action: func(c *ucli.Context) error {
			return withPlan(c, env, func(st *batch.Store, p *batch.Plan, m *meter) error {
				if err := useThreads(c); err != nil {
					return err
				}
				dir, err := queueDir(p.Output)
				if err != nil {
					return err
				}
				run := runPlan
				if c.String("device") == allDevices {
					run = runPlanGang
				}
				sum, err := run(c, env, dir, st, p)
				m.clear()
				if err != nil {
					return interrupted(c, err)
				}
				return finished(env, m, p, sum)
			})
		},
	}
}

// runPlan does a plan in this process.
func runPlan(c *ucli.Context, env Env, dir string, st *batch.Store, p *batch.Plan) (sum batch.Summary, err error) {
	limits, err := limits(c)
	if err != nil {
		return sum, err
	}
	q, err := batch.Embed(dir)
	if err != nil {
		return sum, err
	}
	defer q.Close()
	m := newMeter(c, env.Stderr)
	defer m.clear()
	log := newLog(c, env.Stderr, m)
	// The work closes the store that it opens.
	return q.Run(c.Context, st, p, batch.WorkOptions{Progress: newProgress(p, log, m).event, Open: opener(c, limits, log)})
}

// finished says what came of a plan, and that some images could not be scored.
func finished(env Env, m *meter, p *batch.Plan, sum batch.Summary) error {
	m.say("%d images, %d novel, %d without a score, %d of %d shards failed", sum.Rows, sum.Novel, sum.Bad, sum.Failed, sum.Shards)
	if _, err := fmt.Fprintln(env.Stdout, p.Output); err != nil {
		return err
	}
	if sum.Bad > 0 {
		return &incompleteError{int(sum.Bad), int(sum.Rows)}
	}
	return nil
}

// interrupted gives the error of work that was ended a hint how to go on.
func interrupted(c *ucli.Context, err error) error {
	if c.Context.Err() != nil {
		return &hintedError{errors.Join(c.Context.Err(), err), "repeat the command to go on"}
	}
	return err
}

// queueDir returns where the queue of an output is kept.
func queueDir(output string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", &hintedError{err, "set HOME or XDG_CACHE_HOME"}
	}
	sum := sha256.Sum256([]byte(output))
	return filepath.Join(cache, "nlnctl", "queues", hex.EncodeToString(sum[:8])), nil
}

// withPlan opens the output and makes the plan that the options ask for, or takes the one
// that is there if it is the same.
func withPlan(c *ucli.Context, env Env, do func(st *batch.Store, p *batch.Plan, m *meter) error) error {
	if err := noArguments(c); err != nil {
		return err
	}
	spec, in, err := readSpec(c)
	if err != nil {
		return err
	}
	m := newMeter(c, env.Stderr)
	st, err := batch.OpenStore(c.Context, spec.Output)
	if err != nil {
		return err
	}
	defer st.Close()
	p, err := batch.OpenPlan(c.Context, st)
	switch {
	case errors.Is(err, batch.ErrNoPlan):
		m.show("listing %s", c.String("input"))
		p, err = batch.MakePlan(c.Context, st, spec, counted(in.items, m), "nlnctl "+env.version())
		m.clear()
		if err == nil && p.Items == 0 {
			err = fmt.Errorf("%s holds no %s", c.String("input"), p.Kind)
		}
	case err == nil && differences(p.Spec, spec) == "":
		m.say("going on with the plan of %s", p.Created.Format(time.DateTime))
		err = batch.Resume(c.Context, st, p) // it may have been cancelled
	case err == nil:
		err = &hintedError{fmt.Errorf("%s has results of another plan: %s", spec.Output, differences(p.Spec, spec)), "choose another --output, or the same options"}
	}
	if err != nil {
		return err
	}
	return do(st, p, m)
}

// counted shows how far a listing is.
func counted(items func(func(string, error) bool), m *meter) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		n := 0
		for item, err := range items {
			if n++; n%1000 == 0 {
				m.show("listed %d", n)
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// differences says in what two specifications differ.
func differences(was, now batch.Spec) string {
	var d []string
	for _, v := range [][3]string{{"input", was.Input, now.Input}, {"model", was.Model, now.Model}, {"the bundle's digest", was.Digest, now.Digest},
		{"shard size", fmt.Sprint(was.ShardSize), fmt.Sprint(now.ShardSize)}, {"options", fmt.Sprint(was.Options), fmt.Sprint(now.Options)}, {"kind", was.Kind, now.Kind}} {
		if v[1] != v[2] {
			d = append(d, fmt.Sprintf("%s %s, now %s", v[0], v[1], v[2]))
		}
	}
	return strings.Join(d, "; ")
}

// readSpec reads what a plan is to do.
func readSpec(c *ucli.Context) (s batch.Spec, in input, err error) {
	if c.IsSet("fpr") && c.IsSet("threshold") {
		return s, in, badUsage(c, "--fpr and --threshold exclude each other")
	}
	if v := c.Float64("fpr"); c.IsSet("fpr") && !(v > 0 && v < 1) {
		return s, in, badUsage(c, "--fpr is %v, want more than 0 and less than 1", v)
	}
	if n := c.Int("shard-size"); n < 1 {
		return s, in, badUsage(c, "--shard-size is %d, want at least 1", n)
	}
	if in, err = openInput(c.Context, c.String("input"), c.Bool("archives")); err != nil {
		return s, in, err
	}
	s = batch.Spec{Input: in.base, Model: absolute(c.String("model")), Output: absolute(c.String("output")), ShardSize: c.Int("shard-size"), Kind: in.kind}
	if in.kind == batch.Archives {
		if c.IsSet("shard-size") {
			return s, in, badUsage(c, "--shard-size and --archives exclude each other: an archive is a shard")
		}
		s.ShardSize = 1
	}
	path, err := fetchBundle(c.Context, s.Model, "")
	if err != nil {
		return s, in, err
	}
	if _, s.Digest, err = bundle.ReadManifest(path); err != nil {
		return s, in, err
	}
	for _, name := range []string{optionFPR, optionThreshold} {
		if c.IsSet(name) {
			s.Options = map[string]string{name: fmt.Sprint(c.Float64(name))}
		}
	}
	if kinds := c.String(optionHeatmaps); kinds != "" {
		for k := range strings.SplitSeq(kinds, ",") {
			if !slices.Contains(heatKinds, k) {
				return s, in, badUsage(c, "--heatmaps: %q is not one of %s", k, strings.Join(heatKinds, ", "))
			}
		}
		if s.Options == nil {
			s.Options = map[string]string{}
		}
		s.Options[optionHeatmaps] = kinds
	}
	return s, in, nil
}

// absolute returns a path as other processes can open it; a URL stays.
func absolute(arg string) string {
	if path, err := localPath(arg); err == nil {
		return path
	}
	return arg
}

func batchPlanCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:        "plan",
		Usage:       "make the plan alone, for shards that are done by their numbers",
		UsageText:   "nlnctl batch plan -m BUNDLE --input INPUT --output OUTPUT [options]",
		Description: `Prints the number of shards; "nlnctl shard" does one.`,
		Flags:       append(planFlags(), quietFlag()),
		Action: func(c *ucli.Context) error {
			return withPlan(c, env, func(_ *batch.Store, p *batch.Plan, m *meter) error {
				m.say("%d images or archives in %d shards", p.Items, p.Shards)
				_, err := fmt.Fprintln(env.Stdout, p.Shards)
				return err
			})
		},
	}
}

func batchSubmitCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "submit",
		Usage:     "make the plan and queue what is missing, for workers",
		UsageText: "nlnctl batch submit -m BUNDLE --input INPUT --output OUTPUT --nats URL [options]",
		Flags:     append(planFlags(), append(natsFlags(), quietFlag())...),
		Action: func(c *ucli.Context) error {
			q, err := connect(c) // before anything is written
			if err != nil {
				return err
			}
			defer q.Close()
			return withPlan(c, env, func(st *batch.Store, p *batch.Plan, m *meter) error {
				n, err := q.Submit(c.Context, st, p)
				if err != nil {
					return err
				}
				m.say("%d images or archives in %d shards, %d queued", p.Items, p.Shards, n)
				_, err = fmt.Fprintln(env.Stdout, p.Output)
				return err
			})
		},
	}
}

// openPlan opens the output that is a command's argument.
func openPlan(c *ucli.Context) (*batch.Store, *batch.Plan, error) {
	if c.Args().Len() != 1 {
		return nil, nil, badUsage(c, "want one OUTPUT, of batch run or submit")
	}
	st, err := batch.OpenStore(c.Context, absolute(c.Args().First()))
	if err != nil {
		return nil, nil, err
	}
	p, err := batch.OpenPlan(c.Context, st)
	if err != nil {
		return nil, nil, errors.Join(err, st.Close())
	}
	return st, p, nil
}

func batchStatusCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "status",
		Usage:     "say how far a plan is",
		UsageText: "nlnctl batch status OUTPUT [--nats URL] [options]",
		Flags:     append(natsFlags(), jsonFlag("the status")),
		Action: func(c *ucli.Context) error {
			st, p, err := openPlan(c)
			if err != nil {
				return err
			}
			defer st.Close()
			var s batch.Status
			if c.IsSet("nats") {
				q, err := connect(c)
				if err != nil {
					return err
				}
				defer q.Close()
				s, err = q.Status(c.Context, st, p)
				if err != nil {
					return err
				}
			} else if s, err = batch.StatusOf(c.Context, st, p); err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(env.Stdout, s)
			}
			return printStatus(env, p, s)
		},
	}
}

func printStatus(env Env, p *batch.Plan, s batch.Status) error {
	fmt.Fprintf(env.Stdout, "plan %.16s of %s: %d of %d shards done, %d of them failed\n", p.ID, p.Created.Format(time.DateTime), s.Done, s.Shards, s.Failed)
	fmt.Fprintf(env.Stdout, "%d rows, %d novel, %d without a score\n", s.Rows, s.Novel, s.Bad)
	if s.Cancelled {
		fmt.Fprintln(env.Stdout, "cancelled")
	}
	if s.Queued+s.InWork+len(s.Workers) > 0 {
		fmt.Fprintf(env.Stdout, "%d shards queued, %d in work\n", s.Queued, s.InWork)
	}
	for _, w := range s.Workers {
		fmt.Fprintf(env.Stdout, "  %s: shard %d for %v, %d images, %.0f images/s, %d shards done\n",
			w.Name, w.Shard, time.Since(w.Since).Round(time.Second), w.Images, w.PerSecond, w.Done)
	}
	return nil
}

func batchWatchCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "watch",
		Usage:     "wait until all is done and write _SUCCESS.json",
		UsageText: "nlnctl batch watch OUTPUT [--nats URL] [options]",
		Description: `With --nats, what is neither done nor queued is queued again. Without, it waits for
results that others make, such as "nlnctl shard".`,
		Flags: append(natsFlags(), &ucli.DurationFlag{Name: "every", Value: 5 * time.Second, Usage: "look every `TIME`"}, quietFlag()),
		Action: func(c *ucli.Context) error {
			st, p, err := openPlan(c)
			if err != nil {
				return err
			}
			defer st.Close()
			m := newMeter(c, env.Stderr)
			start, before := time.Now(), -1
			show := func(s batch.Status) {
				if before < 0 {
					before = s.Done
				}
				m.show("%d of %d shards done, %d images, %v left", s.Done, s.Shards, s.Rows, remaining(time.Since(start), s.Done-before, s.Shards-before))
			}
			if c.IsSet("nats") {
				q, err := connect(c)
				if err != nil {
					return err
				}
				defer q.Close()
				if _, err := q.Watch(c.Context, st, p, batch.WatchOptions{Every: c.Duration("every"), Resubmit: true, Progress: show}); err != nil {
					return err
				}
				if err := q.Clear(c.Context, p); err != nil { // or workers would go on asking for it
					return err
				}
			} else if err := watchStore(c.Context, st, p, c.Duration("every"), show); err != nil {
				return err
			}
			m.clear()
			sum, err := batch.Finalize(c.Context, st, p)
			if err != nil {
				return err
			}
			return finished(env, m, p, sum)
		},
	}
}

// watchStore waits until all results are in the store.
func watchStore(ctx context.Context, st *batch.Store, p *batch.Plan, every time.Duration, show func(batch.Status)) error {
	for {
		s, err := batch.StatusOf(ctx, st, p)
		if err != nil {
			return err
		}
		show(s)
		switch {
		case s.Done >= s.Shards:
			return nil
		case s.Cancelled:
			return batch.ErrCancelled
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(cmp.Or(every, time.Second)):
		}
	}
}

func batchCancelCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:        "cancel",
		Usage:       "have workers drop a plan; what is done stays",
		UsageText:   "nlnctl batch cancel OUTPUT --nats URL [options]",
		Description: `The same "batch submit" or "batch run" takes it up again.`,
		Flags:       natsFlags(),
		Action: func(c *ucli.Context) error {
			st, p, err := openPlan(c)
			if err != nil {
				return err
			}
			defer st.Close()
			q, err := connect(c)
			if err != nil {
				return err
			}
			defer q.Close()
			return q.Cancel(c.Context, st, p)
		},
	}
}
