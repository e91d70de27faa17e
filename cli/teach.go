package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/internal/resident"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/recipe"
	ucli "github.com/urfave/cli/v2"
)

func indexCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "index",
		Usage:     "change which images count as normal, without training",
		UsageText: "nlnctl index add|remove|rollback|info -m BUNDLE ...",
		Description: `An image that was called novel and is normal after all is added to the indexed
images; one that should not be among them is removed. The network stays as it was
trained, so that what is quite unlike its training images may stay novel. The
calibration is made anew, and with it p-values and the threshold.

   nlnctl index add -m parts.nln false-alarms/
   nlnctl index rollback -m parts.nln`,
		Subcommands: []*ucli.Command{indexAddCommand(env), indexRemoveCommand(env), indexRollbackCommand(env), indexInfoCommand(env)},
		Action:      subcommandHelp,
	}
}

func keepFlag() ucli.Flag {
	return &ucli.IntFlag{Name: "keep", Value: 3, Usage: "keep the last `N` versions of the bundle in BUNDLE.versions, to go back to"}
}

func digestFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "digest", Usage: "do it only if the bundle's digest begins with `D`, as in the rows that ids are from"}
}

func indexAddCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "add",
		Usage:     "make more images count as normal",
		UsageText: "nlnctl index add -m BUNDLE DATA|FOLDER|FILE... [options]",
		Description: `Indexes normal images behind those that are, and prints the bundle's new digest.
Of DATA these are the training images that are normal as when the bundle was
trained. Images that are indexed already, by their names, are left out unless
--same-names says that they are others: data sets number their images. Those that
were held out for calibration are never taken, known by their pixels: compared with
themselves they would say nothing of new images. An image that cannot be read is an
error, and nothing is added.

BUNDLE is replaced at once, and the version before it kept, see "index rollback".`,
		Flags: append([]ucli.Flag{modelFlag(), &ucli.BoolFlag{Name: "same-names", Usage: "take images whose names are indexed too: they are others"}, digestFlag(), keepFlag(), threadsFlag(), quietFlag()}, limitFlags()...),
		Action: func(c *ucli.Context) error {
			if !c.Args().Present() {
				return badUsage(c, "nothing to add")
			}
			limits, err := limits(c)
			if err != nil {
				return err
			}
			return teach(c, env, func(l *lesson) error {
				l.sameNames = c.Bool("same-names")
				images, err := l.normalImages(c.Context, readingOf(l.bundle, limits), c.Args().Slice())
				if err != nil {
					return err
				}
				l.add(images)
				return nil
			})
		},
	}
}

// names is an option that may be given several times.
type names []string

func (n *names) Set(s string) error { *n = append(*n, s); return nil }
func (n *names) String() string     { return strings.Join(*n, " ") }

func indexRemoveCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "remove",
		Usage:     "make images count as normal no more",
		UsageText: "nlnctl index remove -m BUNDLE ID...|--image NAME [options]",
		Description: `Takes images out of those indexed, by their ids or their names, and prints the
bundle's new digest. Score rows name both, as neighbors and neighbor_images.

An id is a place in the order of the indexed images: behind a removed one all
move up. Ids of rows hold for the digest that the rows carry alone; --digest makes
sure of it. Names stay.

   nlnctl index remove -m parts.nln --image good-parts/031.png
   nlnctl index remove -m parts.nln --digest 60701a 19 37`,
		Flags: []ucli.Flag{modelFlag(), &ucli.GenericFlag{Name: "image", Value: new(names), Usage: "remove the images of the name `NAME`; may be given again"},
			digestFlag(), keepFlag(), threadsFlag(), quietFlag()},
		Action: func(c *ucli.Context) error {
			byName := *c.Generic("image").(*names)
			if !c.Args().Present() && len(byName) == 0 {
				return badUsage(c, "nothing to remove")
			}
			var ids []int64
			for _, arg := range c.Args().Slice() {
				id, err := strconv.ParseInt(arg, 10, 64)
				if err != nil {
					return badUsage(c, "%q is no id, want a whole number; a name goes with --image", arg)
				}
				ids = append(ids, id)
			}
			return teach(c, env, func(l *lesson) error {
				for _, name := range byName {
					found := l.byName()[name]
					if found == nil {
						return fmt.Errorf("no indexed image is called %q", name)
					}
					ids = append(ids, found...)
				}
				l.change.Remove = ids
				return nil
			})
		},
	}
}

// A lesson is a change of what counts as normal.
type lesson struct {
	bundle *bundle.Bundle
	meter  *meter
	held   *nln.Held
	change nln.Change
	names  []bundle.Image // of change.Add

	sameNames bool // images whose names are indexed are others
}

// byName returns the ids of the indexed images of each name, or of their patches.
func (l *lesson) byName() map[string][]int64 {
	ids := map[string][]int64{}
	for id, im := range l.bundle.Train {
		name := im.Name
		if l.bundle.Manifest.Patched != nil {
			name = im.Source()
		}
		ids[name] = append(ids[name], int64(id))
	}
	return ids
}

// add has images added, or all patches of their grid.
func (l *lesson) add(images *dataset.Set) {
	if images.Len() == 0 {
		return
	}
	if l.bundle.Manifest.Patched == nil {
		l.change.Add = images
		for i := range images.Len() {
			l.names = append(l.names, bundle.Image{Name: images.ImageName(i), Class: images.ClassName(i)})
		}
		return
	}
	patches := l.bundle.Manifest.Patched.Grid.Of(images)
	l.change.Add = patches
	sources := l.bundle.Scorer.Config().Sources
	next := int64(len(sources)) // no source has this number or a larger one
	for i := range patches.Len() {
		l.names = append(l.names, bundle.Image{Name: patches.Name(i), Class: images.ClassName(patches.Source(i))})
		l.change.Sources = append(l.change.Sources, next+int64(patches.Source(i)))
	}
}

// teach changes the bundle that the options name as prepare says, alone.
func teach(c *ucli.Context, env Env, prepare func(*lesson) error) error {
	if c.Int("keep") < 0 {
		return badUsage(c, "--keep is %d, want at least 0", c.Int("keep"))
	}
	path, err := filepath.EvalSymlinks(c.String("model")) // what is changed is not the link
	if err != nil {
		return fmt.Errorf("%w: %w", bundle.ErrNotABundle, err)
	}
	unlock, err := atomicfile.Lock(path)
	if err != nil {
		return err
	}
	digest, err := teachLocked(c, env, path, prepare)
	if err = errors.Join(err, unlock()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, digest)
	return err
}

func teachLocked(c *ucli.Context, env Env, path string, prepare func(*lesson) error) (digest string, err error) {
	start := time.Now()
	b, err := openBundle(c)
	if err != nil {
		return "", err
	}
	defer b.Close()
	if !strings.HasPrefix(b.Digest, c.String("digest")) {
		return "", &hintedError{fmt.Errorf("%s has the digest %.16s, not %s", path, b.Digest, c.String("digest")),
			"the bundle was changed since: take ids from new rows, or names"}
	}
	l := &lesson{bundle: b, meter: newMeter(c, env.Stderr)}
	if l.held, err = b.ReadHeld(path); err != nil {
		return "", err
	}
	if err := prepare(l); err != nil {
		return "", err
	}
	if l.change.Add == nil && len(l.change.Remove) == 0 {
		l.meter.say("nothing to change")
		return b.Digest, nil
	}
	r, err := l.revision(c.Context)
	if err != nil {
		return "", err
	}
	defer r.Index.Close()
	for _, w := range r.Scorer.Warnings() {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	r.Edit = bundle.Edit{Time: time.Now().UTC().Truncate(time.Second), Program: "nlnctl " + env.version(),
		Added: len(l.names), Removed: len(l.change.Remove)}
	if err := b.Revise(path, *r, c.Int("keep")); err != nil {
		return "", err
	}
	was, now := finiteThreshold(b.Scorer.Calibration()), finiteThreshold(r.Scorer.Calibration())
	l.meter.say("%d images added, %d removed: %d indexed; threshold %s, was %s; %.1f s, peak memory %s", len(l.names), len(l.change.Remove),
		len(r.Train), thresholdText(now), thresholdText(was), time.Since(start).Seconds(), megabytes(resident.Peak()))
	_, digest, err = bundle.ReadManifest(path)
	return digest, err
}

// revision makes the change in memory. The caller closes its index.
func (l *lesson) revision(ctx context.Context) (_ *bundle.Revision, err error) {
	b := l.bundle
	x, err := faissindex.New(b.Index.Dim())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			x.Close()
		}
	}()
	l.change.Held = l.held
	l.change.Progress = func(stage string, done, total int) { l.meter.show("%s: %d of %d images", stage, done, total) }
	s, err := b.Scorer.Change(ctx, x, l.change)
	l.meter.clear()
	if err != nil {
		return nil, err
	}
	r := &bundle.Revision{Scorer: s, Index: x, Search: b.Manifest.Index}
	if asked := b.Manifest.Index.Asked; asked != "" && asked != faissindex.Exact {
		compare := func() (nln.Parts, error) { return s.Compare(ctx, l.held) }
		queries := some(l.held.Latents, x.Dim(), recipe.RecallImages)
		var c faissindex.Choice
		if r.Scorer, c, err = recipe.Choose(ctx, l.meter, asked, x, s, queries, compare); err != nil {
			return nil, err
		}
		r.Search = bundle.Index(c)
	}
	gone := map[int64]bool{}
	for _, id := range l.change.Remove {
		gone[id] = true
	}
	for id, im := range b.Train {
		if !gone[int64(id)] {
			r.Train = append(r.Train, im)
		}
	}
	r.Train = append(r.Train, l.names...)
	return r, nil
}

// some returns at most n vectors of dim values, evenly spaced.
func some(vectors []float32, dim, n int) []float32 {
	var v []float32
	for _, at := range recipe.Spaced(len(vectors)/dim, n) {
		v = append(v, vectors[at*dim:(at+1)*dim]...)
	}
	return v
}
