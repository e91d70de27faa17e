package cli

import (
	"fmt"

	"github.com/nlnctl/nlnctl/dataset/synth"
	ucli "github.com/urfave/cli/v2"
)

const (
	formatMVTec = "mvtec"
	formatIDX   = "idx"
	formatAll   = "all"
)

func synthCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "synth",
		Usage:     "make a data set of hand-drawn symbols out of a seed",
		UsageText: "nlnctl data synth -o DIR [options]",
		Description: `Writes images of symbols that the program draws itself, to try things with where
no real data is at hand. The same options give the same images everywhere.

mvtec: good and defective images with masks, PNG files in the layout of MVTec AD.
idx: ten classes of labelled 28x28 images under MNIST's file names.
all: a small set of each kind that the paper's experiments are on, see "experiment".

   nlnctl data synth -o inspection
   nlnctl data synth -o glyphs --format idx --train 10000 --test 2000`,
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to the directory `DIR`", Required: true},
			&ucli.StringFlag{Name: "format", Value: formatMVTec, Usage: "`mvtec|idx|all`"},
			&ucli.IntFlag{Name: "train", Usage: "make about `N` training images (default: 240 for mvtec, 10000 for idx)"},
			&ucli.IntFlag{Name: "test", Usage: "make about `N` test images (default: 105 for mvtec, 2000 for idx)"},
			&ucli.IntFlag{Name: "size", Usage: "rows and columns, `N` (default: 64 for mvtec, 28 for idx)"},
			&ucli.Uint64Flag{Name: "seed", Value: 1, Usage: "of everything random, `N`"},
		},
		Action: func(c *ucli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			for _, name := range []string{"train", "test", "size"} {
				if c.IsSet(name) && c.Int(name) < 1 {
					return badUsage(c, "--%s is %d, want at least 1", name, c.Int(name))
				}
			}
			dir := c.String("output")
			var err error
			switch c.String("format") {
			case formatMVTec:
				err = synth.WriteMVTec(dir, inspectionOptions(c))
			case formatIDX:
				err = synth.WriteIDX(dir, glyphOptions(c))
			case formatAll:
				err = synth.WriteAll(dir, c.Uint64("seed"))
			default:
				return badUsage(c, "--format is %q, want %s, %s or %s", c.String("format"), formatMVTec, formatIDX, formatAll)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, dir)
			return err
		},
	}
}

func glyphOptions(c *ucli.Context) synth.Options {
	o := synth.DefaultOptions()
	o.Seed = c.Uint64("seed")
	if c.IsSet("train") {
		o.TrainPerClass = upTo(c.Int("train"), o.Classes)
	}
	if c.IsSet("test") {
		o.TestPerClass = upTo(c.Int("test"), o.Classes)
	}
	if c.IsSet("size") {
		o.Size = c.Int("size")
	}
	return o
}

func inspectionOptions(c *ucli.Context) synth.InspectionOptions {
	o := synth.DefaultInspection()
	o.Seed = c.Uint64("seed")
	if c.IsSet("train") {
		o.Train = c.Int("train")
	}
	if c.IsSet("test") { // a quarter or so of them good
		o.Each = upTo(c.Int("test"), len(synth.Defects())+2)
		o.Good = 2 * o.Each
	}
	if c.IsSet("size") {
		o.Size = c.Int("size")
	}
	return o
}

// upTo divides n into parts, rounding up.
func upTo(n, parts int) int { return (n + parts - 1) / parts }
