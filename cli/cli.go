// Package cli is the command line of nlnctl. Run does what the program does, so
// that tests run it in their own process.
//
// Results go to standard output, everything else to standard error. A failure
// is one line "nlnctl: what went wrong", with a line "hint: ..." where something
// is known to mend it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/nlnctl/nlnctl/buckets"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/engine"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/recipe"
	ucli "github.com/urfave/cli/v2"
)

// Exit statuses of the program.
const (
	exitOK          = 0
	exitFailure     = 1   // something went wrong; standard error says what
	exitUsage       = 2   // the command line is not one the program knows
	exitIncomplete  = 3   // done, but some images could not be scored; their rows say why
	exitNovel       = 4   // done, and images are novel, where that was to be told
	exitInterrupted = 130 // stopped by an interrupt
)

// Env is what the program gets from its surroundings.
type Env struct {
	Stdout, Stderr io.Writer
	Version        string // of the program; empty for a development build
}

// Run runs the program with arguments, without its own name, and returns its
// exit status.
func Run(ctx context.Context, env Env, args []string) int {
	app := newApp(env)
	err := app.RunContext(ctx, append([]string{app.Name}, flagsFirst(app, args)...))
	if err == nil {
		return exitOK
	}
	var usage *usageError
	var incomplete *incompleteError
	var novel *novelError
	var worker *workerError
	fmt.Fprintf(env.Stderr, "nlnctl: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nnlnctl: "))
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(env.Stderr, "hint: see \"nlnctl %shelp\"\n", usage.command)
		return exitUsage
	case errors.As(err, &novel):
		return exitNovel
	case errors.As(err, &worker) && ctx.Err() == nil:
		return worker.status
	case errors.As(err, &incomplete):
		return exitIncomplete
	}
	if hint := hint(err); hint != "" {
		fmt.Fprintf(env.Stderr, "hint: %s\n", hint)
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	return exitFailure
}

// hint returns what is known to mend err, or "".
func hint(err error) string {
	var load *torch.LoadError
	var hinted *hintedError
	var bucket *buckets.Error
	var memory *recipe.MemoryError
	var device *engine.MemoryError
	switch {
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.As(err, &load):
		return load.Hint()
	case errors.As(err, &bucket):
		return bucket.Hint()
	case errors.As(err, &memory):
		return memory.Hint()
	case errors.As(err, &device):
		return device.Hint()
	case errors.Is(err, torch.ErrOutOfMemory):
		return "use a smaller --batch, --device cpu where it is a CUDA device, or a machine with more memory"
	case errors.Is(err, models.ErrDiverged):
		return "pass a smaller --lr"
	case errors.Is(err, models.ErrOtherTraining):
		return "delete the checkpoint to begin anew, or repeat the command that made it"
	case errors.Is(err, bundle.ErrNotABundle):
		return "a bundle is a directory that \"nlnctl train\" wrote"
	case errors.Is(err, atomicfile.ErrLocked):
		return "wait until it is done"
	case errors.Is(err, atomicfile.ErrExists):
		return "choose another name, or pass --force to replace a bundle"
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the file and its directory"
	}
	return ""
}

// usageError is an error of the command line itself.
type usageError struct {
	command string // with a space behind it, or empty
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func badUsage(c *ucli.Context, format string, args ...any) error {
	return &usageError{c.Command.FullName() + " --", fmt.Errorf(format, args...)}
}

// incompleteError reports that a command did its work but for some images.
type incompleteError struct{ bad, total int }

func (e *incompleteError) Error() string {
	return fmt.Sprintf("%d of %d images could not be scored; their rows have a status other than \"ok\" and a reason", e.bad, e.total)
}

// novelError reports that images are novel.
type novelError struct{ novel, total int }

func (e *novelError) Error() string {
	return fmt.Sprintf("%d of %d images are novel", e.novel, e.total)
}

// hintedError is an error with what mends it.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

const description = `nlnctl learns what normal images look like and finds the ones that are not, by
Nearest Latent Neighbours (https://arxiv.org/abs/2111.06150).

DATA is KIND:LOCATION: mnist:DIR, fashion-mnist:DIR, cifar-10:DIR|FILE,
mvtec:DIR/category, folder:DIR, list:FILE.csv|jsonl, tar:FILE, a URL of an object
store (s3://, gs://, azblob://, file://), or a plain path, whose kind is found out.

   nlnctl data synth -o glyphs                      a data set to try things with
   nlnctl train --data glyphs -o glyphs.nln         learn from its normal images
   nlnctl score -m glyphs.nln IMAGE...              score images
   nlnctl eval  -m glyphs.nln --html glyphs.html    how well it tells them apart

Exit status: 0 done; 1 failed; 2 wrong usage; 3 done, but some images could not
be scored; 4 images are novel and --fail-on-novel is given; 130 interrupted.`

func newApp(env Env) *ucli.App {
	app := &ucli.App{
		Name:                 "nlnctl",
		Usage:                "image novelty detection by Nearest Latent Neighbours",
		UsageText:            "nlnctl COMMAND [options]",
		Description:          description,
		HideVersion:          true, // "nlnctl version" says more
		EnableBashCompletion: true,
		Suggest:              true,

		DisableSliceFlagSeparator: true, // a glob may hold commas
		Writer:                    env.Stdout,
		ErrWriter:                 env.Stderr,
		ExitErrHandler:            func(*ucli.Context, error) {}, // Run reports
		OnUsageError:              onUsageError,
		Commands: []*ucli.Command{
			trainCommand(env), scoreCommand(env), evalCommand(env), explainCommand(env), reportCommand(env),
			inspectCommand(env), thresholdCommand(env), indexCommand(env), experimentCommand(env),
			batchCommand(env), workerCommand(env), shardCommand(env),
			dataCommand(env), doctorCommand(env), versionCommand(env), completionCommand(env),
		},
		Action: func(c *ucli.Context) error {
			if c.Args().Present() {
				return &usageError{"", fmt.Errorf("unknown command %q", c.Args().First())}
			}
			return ucli.ShowAppHelp(c)
		},
	}
	setUsageErrors(app.Commands)
	return app
}

func setUsageErrors(commands []*ucli.Command) {
	for _, c := range commands {
		c.OnUsageError = onUsageError
		setUsageErrors(c.Subcommands)
	}
}

func onUsageError(c *ucli.Context, err error, _ bool) error {
	name := ""
	if c.Command != nil && c.Command.Name != "nlnctl" {
		name = c.Command.FullName() + " --"
	}
	return &usageError{name, err}
}

// flagsFirst moves the options of a command before its other arguments, since
// urfave/cli stops reading options at the first argument that is none: "score
// -m BUNDLE a.png -o rows.jsonl" is as good as "score -m BUNDLE -o rows.jsonl a.png".
func flagsFirst(app *ucli.App, args []string) []string {
	commands, i := app.Commands, 0
	var flags []ucli.Flag
	for i < len(args) {
		c := commandNamed(commands, args[i])
		if c == nil {
			break
		}
		commands, flags = c.Subcommands, c.Flags
		i++
	}
	head, rest := args[:i], args[i:]
	var options, others []string
	for k := 0; k < len(rest); k++ {
		a := rest[k]
		if a == "--" {
			others = append(others, rest[k+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			others = append(others, a)
			continue
		}
		options = append(options, a)
		if !strings.Contains(a, "=") && takesValue(flags, strings.TrimLeft(a, "-")) && k+1 < len(rest) {
			k++
			options = append(options, rest[k])
		}
	}
	out := append(append([]string{}, head...), options...)
	if slices.Contains(rest, "--") {
		out = append(out, "--")
	}
	return append(out, others...)
}

func commandNamed(commands []*ucli.Command, name string) *ucli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func takesValue(flags []ucli.Flag, name string) bool {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*ucli.BoolFlag)
				return !isBool
			}
		}
	}
	return false
}
