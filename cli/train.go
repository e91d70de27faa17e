package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/faissindex"
	"github.com/nlnctl/nlnctl/internal/resident"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/nlnctl/nlnctl/recipe"
	ucli "github.com/urfave/cli/v2"
)

type trainOptions struct {
	data, out, protocol, class string
	request                    recipe.Request
	device                     torch.Device
	reading                    dataset.Reading // of image files
	resume, force              bool
	maxMemory                  int64 // bytes; 0: any
}

func trainCommand(env Env) *ucli.Command {
	return &ucli.Command{
		Name:      "train",
		Usage:     "learn from normal images and write a bundle",
		UsageText: "nlnctl train --data DATA -o BUNDLE [options]",
		Description: `Trains an autoencoder on the normal images of DATA, indexes their latents and
calibrates the scores on a tenth of them that it holds out. With --protocol miso
the images of --class are novel and all others normal; with simo it is the other
way round; with defects those of the first class are normal, which is good or
normal in a list and good in MVTec AD; without one all training images are normal.

An interrupt keeps what was learnt in BUNDLE.checkpoint; --resume goes on there.

   nlnctl train --data mnist:DIR --protocol miso --class 2 --steps 2000 --lr 1e-3 -o two.nln
   nlnctl train --data folder:good-parts --size 128 -o parts.nln`,
		Flags: append([]ucli.Flag{
			&ucli.StringFlag{Name: "data", Usage: "the `DATA` to learn from", Required: true},
			&ucli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the `BUNDLE` to write"},
			&ucli.StringFlag{Name: "protocol", Usage: "which images are normal: `miso|simo|defects`"},
			&ucli.StringFlag{Name: "class", Usage: "the `CLASS` that the protocol is about, by name or number"},
			&ucli.StringFlag{Name: "size", Usage: "resize image files to `ROWSxCOLUMNS`, or to as many of both (default: they have one size)"},
			&ucli.IntFlag{Name: "patch", Usage: "cut images into patches of `N` rows and columns (default: whole images)"},
			&ucli.IntFlag{Name: "stride", Usage: "from one patch to the next, `N` pixels (default: a patch)"},
			&ucli.StringFlag{Name: "arch", Value: models.ArchAE, Usage: "the model: `" + strings.Join(models.Archs(), "|") + "`"},
			&ucli.StringFlag{Name: "preset", Value: "paper", Usage: "settings of model and training: `" + strings.Join(models.Presets(), "|") + "`"},
			&ucli.StringFlag{Name: "config", Usage: "read settings from the YAML `FILE`; options go before it"},
			&ucli.BoolFlag{Name: "print-config", Usage: "print all settings and where they come from, and do nothing"},
			&ucli.IntFlag{Name: "latent", Usage: "`L`, the length of a latent vector (default: the preset's)"},
			&ucli.IntFlag{Name: "epochs", Usage: "passes over the images, `N` (default: the preset's)"},
			&ucli.IntFlag{Name: "steps", Usage: "training steps, `N`, instead of epochs"},
			&ucli.IntFlag{Name: "batch", Usage: "images in a training step, `N` (default: the preset's)"},
			&ucli.Float64Flag{Name: "lr", Usage: "learning rate `X` (default: the preset's)"},
			&ucli.StringFlag{Name: "loss", Usage: "reconstruction loss: `mse|bce|l1` (default: the preset's)"},
			&ucli.IntFlag{Name: "neighbors", Aliases: []string{"k"}, Value: nln.DefaultPolicy().K, Usage: "`K`, the nearest normal images to compare with"},
			&ucli.Float64Flag{Name: "alpha", Value: nln.DefaultPolicy().Alpha, Usage: "weight of the error term, `X` in 0..1; the distance has the rest"},
			&ucli.StringFlag{Name: "index", Value: string(faissindex.Exact), Usage: "how neighbours are searched for: `" + strings.Join(faissindex.Kinds(), "|") + "`; hnsw and ivf may miss some"},
			&ucli.StringFlag{Name: "max-memory", Usage: "take at most `SIZE`, such as 6GB, and keep less of the neighbours for it"},
			&ucli.Uint64Flag{Name: "seed", Usage: "of everything random, `N`"},
			threadsFlag(), quietFlag(),
			&ucli.BoolFlag{Name: "resume", Usage: "go on from BUNDLE.checkpoint"},
			&ucli.BoolFlag{Name: "force", Usage: "replace a bundle that is there"},
			jsonFlag("the bundle's manifest"),
		}, append(deviceFlags(), limitFlags()...)...),
		Action: func(c *ucli.Context) error {
			opt, err := readTrainOptions(c)
			if err != nil {
				return err
			}
			if c.Bool("print-config") {
				sp, err := opt.reading.OpenContext(c.Context, opt.data)
				if err != nil {
					return err
				}
				if sp.Train == nil {
					return fmt.Errorf("%s has no training images", opt.data)
				}
				return opt.request.Print(env.Stdout, sp.Train)
			}
			if err := useCore(c); err != nil {
				return err
			}
			if opt.device, err = useDevice(c); err != nil {
				return err
			}
			man, err := train(c.Context, env, opt, newMeter(c, env.Stderr))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(env.Stdout, man)
			}
			_, err = fmt.Fprintln(env.Stdout, opt.out)
			return err
		},
	}
}

func readTrainOptions(c *ucli.Context) (opt trainOptions, err error) {
	if err := noArguments(c); err != nil {
		return opt, err
	}
	opt = trainOptions{
		data: c.String("data"), out: c.String("output"), protocol: c.String("protocol"), class: c.String("class"),
		request: recipe.Request{Preset: c.String("preset"), Arch: c.String("arch"), File: c.String("config"),
			Flags: recipe.Flags(func(option string) (string, bool) { return fmt.Sprint(c.Value(option)), c.IsSet(option) })},
		resume: c.Bool("resume"), force: c.Bool("force"),
	}
	if opt.reading, err = newReading(c, c.String("size")); err != nil {
		return opt, err
	}
	for _, name := range []string{"latent", "epochs", "steps", "batch"} {
		if c.IsSet(name) && c.Int(name) < 1 {
			return opt, badUsage(c, "--%s is %d, want at least 1", name, c.Int(name))
		}
	}
	if c.IsSet("max-memory") {
		if opt.maxMemory, err = parseBytes(c.String("max-memory")); err != nil {
			return opt, badUsage(c, "--max-memory: %w", err)
		}
	}
	if c.IsSet("epochs") && c.IsSet("steps") {
		return opt, badUsage(c, "--epochs and --steps exclude each other")
	}
	if opt.out == "" && !c.Bool("print-config") {
		return opt, badUsage(c, "--output is missing: the bundle to write")
	}
	// Any shape will do to see whether the settings are sound.
	if _, _, err := opt.request.Resolve(dataset.Shape{C: 1, H: 28, W: 28}); err != nil {
		return opt, &usageError{"train --", err}
	}
	return opt, nil
}

func train(ctx context.Context, env Env, opt trainOptions, m *meter) (man bundle.Manifest, err error) {
	if err := bundle.CheckTarget(opt.out, opt.force); err != nil {
		return man, err
	}
	checkpoint := strings.TrimRight(opt.out, "/") + ".checkpoint"
	if _, err := os.Stat(checkpoint); err == nil && !opt.resume {
		return man, &hintedError{fmt.Errorf("%s is what an interrupted training left", checkpoint), "pass --resume to go on there, or delete it to begin anew"}
	} else if errors.Is(err, fs.ErrNotExist) && opt.resume {
		m.say("%s is not there: beginning anew", checkpoint)
	}
	normal, err := normalImages(ctx, opt, m)
	if err != nil {
		return man, err
	}
	cfg := normal.Settings.Model
	model, err := models.New(cfg, opt.device)
	if err != nil {
		return man, err
	}
	defer model.Close()
	defer debug.SetGCPercent(debug.SetGCPercent(recipe.Garbage))
	debug.FreeOSMemory() // what reading the images left behind need not stay
	if err := normal.FitMemory(model, opt.maxMemory, m); err != nil {
		return man, err
	}
	m.say("training on %v from %s: %d parameters, %d steps of %d, %d images held out for calibration; device %v, about %s of memory",
		normal, opt.data, model.Parameters(), cfg.TotalSteps(normal.Train.Len()), cfg.Batch, normal.Calib.Len(),
		opt.device, megabytes(normal.Peak(model)))
	log := new(trainingLog)
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = &hintedError{err, "repeat the command with --resume to go on from " + checkpoint}
		}
	}()
	res, err := models.Train(ctx, model, normal.Train, models.Options{
		Checkpoint: checkpoint, Note: log.note, Recall: log.recall,
		Progress: func(p models.Progress) {
			if log.add(p); p.Resumed > 0 && p.Step == p.Resumed+1 {
				m.say("going on after step %d", p.Resumed)
			}
			m.show("step %d of %d, epoch %d, %s, %.0f images/s, %v left", p.Step, p.Steps, p.Epoch, lossList(p.EpochLosses),
				float64(p.Images)/p.Elapsed.Seconds(), remaining(p.Elapsed, p.Step-p.Resumed, p.Steps-p.Resumed))
		},
	})
	m.clear()
	if err != nil {
		return man, err
	}
	if res.Unrecorded != "" {
		m.say("warning: the device's work could not be recorded, and so took longer: %s", res.Unrecorded)
	}
	m.say("trained %d steps in %.1f s, loss %.5f", res.Steps-res.Resumed, res.Seconds, res.LastLoss)
	man, err = finish(ctx, env, opt, m, normal, log, model, bundle.Manifest{Training: res, Data: opt.about(normal)})
	if err != nil {
		return man, err
	}
	if err := os.Remove(checkpoint); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return man, err
	}
	return man, nil
}

// lossList returns losses for a line of progress. Parts of a loss stand for it.
func lossList(losses []models.Loss) string {
	var list []string
	for i, l := range losses {
		if i+1 < len(losses) && strings.HasPrefix(losses[i+1].Name, l.Name+"/") {
			continue
		}
		_, name, isPart := strings.Cut(l.Name, "/")
		if !isPart {
			name = l.Name
		}
		list = append(list, fmt.Sprintf("%s %.4g", name, l.Value))
	}
	return strings.Join(list, ", ")
}

// normalImages reads the data and parts the normal images in those to train on and
// those to calibrate with.
func normalImages(ctx context.Context, opt trainOptions, m *meter) (*recipe.Normals, error) {
	sp, err := opt.reading.OpenContext(ctx, opt.data)
	if err != nil {
		return nil, err
	}
	for _, note := range sp.Notes() {
		m.say("note: %s", note)
	}
	if sp.Train == nil {
		return nil, fmt.Errorf("%s has no training images", opt.data)
	}
	s, _, err := opt.request.Resolve(sp.Train.Shape())
	if err != nil {
		return nil, err
	}
	n, err := recipe.Learn(sp, dataset.Protocol(opt.protocol), opt.class, s)
	if few := (*recipe.TooFewError)(nil); errors.As(err, &few) {
		return nil, fmt.Errorf("%s: %w", opt.data, err)
	}
	if err == nil && s.Noise > 0 {
		m.say("%d of %d images that count as normal are label noise", len(n.Task.Noise), len(n.Task.Inliers))
	}
	return n, err
}

// about says what the images were, for the bundle.
func (o trainOptions) about(n *recipe.Normals) bundle.Data {
	d := bundle.Data{Source: o.data, Protocol: n.Task.Protocol, Class: o.class, Scale: n.Images.Scale,
		Include: o.reading.Include, Exclude: o.reading.Exclude, Resize: o.reading.Rows > 0, Decoder: decoderName(o.reading)}
	if n.Patches != nil {
		d.Augment = n.Settings.Augment
	}
	return d
}

// finish indexes, calibrates and saves.
func finish(ctx context.Context, env Env, opt trainOptions, m *meter, normal *recipe.Normals, log *trainingLog, model *models.Autoencoder, man bundle.Manifest) (bundle.Manifest, error) {
	start := time.Now()
	f, err := recipe.Fit(ctx, model, normal, m)
	if err != nil {
		return man, err
	}
	defer f.Index.Close()
	man.Index = bundle.Index(f.Search)
	if man.Libraries, err = torch.Info(); err != nil {
		return man, err
	}
	man.Created, man.Program = time.Now().UTC().Truncate(time.Second), "nlnctl "+env.version()
	b := &bundle.Bundle{Manifest: man, Model: model, Index: f.Index, Scorer: f.Scorer}
	if b.Held, err = f.Scorer.Hold(ctx, normal.Calib); err != nil {
		return man, err
	}
	b.Extra = map[string]func(io.Writer) error{
		"config.yaml": func(w io.Writer) error { return opt.request.Print(w, normal.Images) },
		"reconstructions.png": func(w io.Writer) error {
			return writeReconstructions(ctx, w, model, normal.HeldOut(recipe.RecallImages))
		},
	}
	if len(log.Steps) > 0 { // none where the checkpoint has no log
		b.Extra["training.csv"], b.Extra["training.png"] = log.writeCSV, log.writePNG
	}
	for i := range f.Index.Len() {
		name, class := normal.Entry(i)
		b.Train = append(b.Train, bundle.Image{Name: name, Class: class})
	}
	if err := b.Save(opt.out, opt.force); err != nil {
		return man, err
	}
	m.say("indexed %d images and calibrated on %d in %.1f s; peak memory %s", f.Index.Len(), normal.Calib.Len(), time.Since(start).Seconds(), megabytes(resident.Peak()))
	man, _, err = bundle.ReadManifest(opt.out)
	return man, err
}
