package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/experiment/paper"
	"github.com/nlnctl/nlnctl/nln"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

func experimentCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "experiment",
		Usage:     "measure the method as its paper does: every table and figure",
		UsageText: "nlnctl experiment plan|run|report ...",
		Description: `A plan says which models are trained on which tasks. There is one for each table
and figure of the paper, "paper" is all of them, and "beyond" has settings that the
paper has not. ROOT is a folder with the data
sets: mnist, fashion-mnist, cifar-10 and mvtec, whose folders are its categories.

   nlnctl experiment plan                                  the plans and budgets
   nlnctl experiment run table6 --data ROOT -o runs/quick  what of it is not done yet
   nlnctl experiment report runs/quick                     tables and figures`,
		Subcommands: []*ucli.Command{experimentPlanCommand(env), experimentRunCommand(env), experimentReportCommand(env)},
		Action:      subcommandHelp,
	}
}

func experimentPlanCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:        "plan",
		Usage:       "list the plans, or print one",
		UsageText:   "nlnctl experiment plan [PLAN]",
		Description: `Prints a plan as YAML; a file of that form is a plan too.`,
		Action: func(c *ucli.Context) error {
			if c.Args().Len() > 1 {
				return badUsage(c, "unexpected argument %q", c.Args().Get(1))
			}
			if name := c.Args().First(); name != "" {
				text, err := experiment.PlanText(name)
				if err == nil {
					_, err = env.Stdout.Write(text)
				}
				return err
			}
			var budgets map[string]experiment.Budget
			for _, name := range experiment.Plans() {
				p, err := experiment.ReadPlan(name)
				if err != nil {
					return err
				}
				budgets = p.Budgets
				fmt.Fprintf(env.Stdout, "%-10s%s\n", name, p.Title)
			}
			fmt.Fprintln(env.Stdout)
			for _, name := range []string{"smoke", "quick", "full"} {
				fmt.Fprintf(env.Stdout, "%-10s%s\n", name, budgets[name].About)
			}
			return nil
		},
	}
}

func experimentRunCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "run",
		Usage:     "do what of a plan is not done yet",
		UsageText: "nlnctl experiment run PLAN --data ROOT -o RUN [options]",
		Description: `PLAN is a name that "experiment plan" lists or a YAML file. What is done stays in
the folder RUN, a cell for each training; started again after whatever ended it, the
command does what is missing. Several processes, also of several machines that share
the folder, divide the cells among them. One folder takes several plans of one budget.

   nlnctl experiment run paper --budget smoke --data ROOT -o runs/smoke`,
		Flags: append([]ucli.Flag{
			&ucli.StringFlag{Name: "data", Usage: "the folder `ROOT` that has the data sets", Required: true},
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "keep what is done in the folder `RUN`", Required: true},
			&ucli.StringFlag{Name: "budget", Value: "quick", Usage: "how much work is spent: `smoke|quick|full`, or one that the plan has"},
			&ucli.StringFlag{Name: "backbone", Usage: "take features for the baseline DKNN with the TorchScript network in `FILE`"},
			&ucli.IntFlag{Name: "jobs", Usage: "work in `N` processes; 0 means one a processor, and a single one with a CUDA device, which trains several models at a time"},
			&ucli.IntFlag{Name: "threads", Value: 1, Usage: "of each process, `N`; more than one pays where there are fewer models than processors"},
			&ucli.BoolFlag{Name: "dry-run", Usage: "say what is to be done and what it takes, and end"},
			&ucli.BoolFlag{Name: "part", Hidden: true}, // one of the processes that another one started
			quietFlag(),
		}, append(deviceFlags(), limitFlags()...)...),
		Action: func(c *ucli.Context) error { return runExperiment(c, env) },
	}
}

func runExperiment(c *ucli.Context, env Env) error {
	if c.Args().Len() != 1 {
		return badUsage(c, "want one PLAN: a name that \"experiment plan\" lists, or a file")
	}
	jobs, threads := c.Int("jobs"), c.Int("threads")
	if jobs < 0 || threads < 1 {
		return badUsage(c, "--jobs is %d and --threads %d, want at least 0 and 1", jobs, threads)
	}
	plan, err := experiment.ReadPlan(c.Args().First())
	if err != nil {
		return err
	}
	reading, err := newReading(c, "")
	if err != nil {
		return err
	}
	if err := useCore(c); err != nil {
		return err
	}
	device, err := useDevice(c)
	if err != nil {
		return err
	}
	if jobs == 0 {
		jobs = defaultJobs(device, threads)
	}
	root, err := filepath.Abs(c.String("data"))
	if err != nil {
		return err
	}
	m := newMeter(c, env.Stderr)
	o := experiment.Options{Plan: plan, Budget: c.String("budget"), Dir: c.String("output"), Data: root, Reading: reading,
		Device: device.String(), Backbone: c.String("backbone"), Program: "nlnctl " + env.version(), Log: m}
	if c.Bool("part") {
		o.Done = func(rec experiment.Record, done, all int) { m.say("%s", cellLine(rec, done, all)) }
		_, err := experiment.Run(c.Context, o)
		return err
	}
	e, err := experiment.Predict(c.Context, o, jobs)
	if err != nil {
		return err
	}
	jobs = min(jobs, max(e.Left, 1))
	took := time.Duration(e.Seconds * float64(time.Second))
	m.say("%s: %d cells, %d to do: about %v by %s of %s, %s of disk", plan.Name, e.Cells, e.Left, roughly(took),
		count(jobs, "process", "processes"), count(threads, "thread", "threads"), megabytes(e.Bytes))
	if err := enoughDisk(o.Dir, e.Bytes); err != nil || c.Bool("dry-run") {
		return err
	}
	start := time.Now()
	if err := runParts(c.Context, c, env, jobs); err != nil {
		return err
	}
	m.say("done in %v", roughly(time.Since(start)))
	_, err = fmt.Fprintln(env.Stdout, o.Dir)
	return err
}

// defaultJobs returns in how many processes a plan is run. Several processes would take
// turns on a CUDA device, where one trains several models at once.
func defaultJobs(device torch.Device, threads int) int {
	if device != torch.CPU {
		return 1
	}
	return max(1, runtime.NumCPU()/threads)
}

// runParts runs the plan in processes, which share out the cells.
func runParts(ctx context.Context, c *ucli.Context, env Env, jobs int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"experiment", "run", c.Args().First(), "--part"}
	for _, name := range []string{"data", "output", "budget", "backbone", "threads", "device", "precision", "max-pixels", "max-side", "max-bytes"} {
		if c.IsSet(name) {
			args = append(args, "--"+name, fmt.Sprint(c.Value(name)))
		}
	}
	if c.Bool("quiet") {
		args = append(args, "--quiet")
	}
	var g errgroup.Group
	for range jobs {
		cmd := exec.CommandContext(ctx, exe, args...)
		cmd.Args[0] = os.Args[0]
		cmd.Stderr, cmd.Cancel, cmd.WaitDelay = env.Stderr, func() error { return cmd.Process.Signal(syscall.SIGTERM) }, time.Minute
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		g.Go(func() error {
			runtime.LockOSThread() // the process ends with the thread that started it
			return cmd.Run()
		})
	}
	err = g.Wait()
	if ctx.Err() != nil {
		return &hintedError{ctx.Err(), "repeat the command to go on"}
	}
	if err != nil {
		return fmt.Errorf("some cells were not done: %w", err)
	}
	return nil
}

// cellLine says what came of a cell.
func cellLine(rec experiment.Record, done, all int) string {
	var total float64
	for _, s := range rec.Seconds {
		total += s
	}
	line := fmt.Sprintf("[%d/%d] %v, %.0f s:", done, all, rec.Cell, total)
	policy := nln.DefaultPolicy()
	shown := map[string]bool{}
	for _, r := range rec.Results {
		own := r.K == 0 || r.K == policy.K || r.Score == nln.ScoreLocal && r.K == nln.DefaultLocal().K
		if r.Protocol != nln.ProtocolHeldOut || !own || shown[r.Score] || strings.Contains(r.Score, ":") || r.Score == nln.ScoreSum3 || r.Score == nln.ScoreProduct ||
			r.Score == nln.ScoreTotal && r.Alpha != policy.Alpha || r.Score == nln.ScoreLocal && r.K != nln.DefaultLocal().K {
			continue
		}
		shown[r.Score] = true
		line += fmt.Sprintf(" %s %.3f", r.Score, r.AUROC)
	}
	return line
}

// roughly rounds a duration to what is of interest.
func roughly(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Hour:
		return d.Round(time.Hour)
	case d > 10*time.Minute:
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// enoughDisk returns an error if a folder's disk has less room than is needed.
func enoughDisk(dir string, needs int64) error {
	for ; ; dir = filepath.Dir(dir) {
		var fs syscall.Statfs_t
		err := syscall.Statfs(dir, &fs)
		if errors.Is(err, syscall.ENOENT) && dir != filepath.Dir(dir) {
			continue // it is made later
		}
		if free := int64(fs.Bavail) * fs.Bsize; err == nil && free < needs {
			return &hintedError{fmt.Errorf("%s of disk are needed and %s has %s", megabytes(needs), dir, megabytes(free)),
				"choose another folder with --output, or a smaller budget"}
		}
		return nil
	}
}

func experimentReportCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "report",
		Usage:     "make the tables and figures of a run",
		UsageText: "nlnctl experiment report RUN [-o DIR]",
		Description: `Writes what the plans of RUN are for, from the cells that are done, as Markdown,
HTML, LaTeX and CSV, and figures as SVG and PNG. Each table says what was chosen by what.`,
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to the directory `DIR` (default: RUN/report)"},
		},
		Action: func(c *ucli.Context) error {
			if c.Args().Len() != 1 {
				return badUsage(c, "want one RUN, a folder that \"experiment run\" wrote")
			}
			run := c.Args().First()
			dir := cmp.Or(c.String("output"), filepath.Join(run, "report"))
			if err := reportExperiment(run, dir); err != nil {
				return err
			}
			_, err := fmt.Fprintln(env.Stdout, dir)
			return err
		},
	}
}

// reportExperiment writes the tables and figures of a run to a folder.
func reportExperiment(run, dir string) error {
	about, err := experiment.ReadAbout(run)
	if err != nil {
		return err
	}
	records, examples, err := experiment.Load(run)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return &hintedError{fmt.Errorf("no cell of %s is done yet", run), "see nlnctl experiment run --help"}
	}
	rep, err := paper.Make(records, examples, paper.Options{Artefacts: about.Make,
		Budget: fmt.Sprintf("budget %s (%s), plans %s", about.Budget, about.Spent, strings.Join(about.Plans, ", "))})
	if err != nil {
		return err
	}
	return rep.Write(dir)
}
