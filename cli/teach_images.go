package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
	"golang.org/x/sync/errgroup"
)

// normalImages reads what args name, as images of the bundle, without those that
// are indexed already or held out.
func (l *lesson) normalImages(ctx context.Context, reading dataset.Reading, args []string) (*dataset.Set, error) {
	all := &dataset.Set{Size: l.bundle.Scorer.Shape(), Scale: l.bundle.Manifest.Data.Scale, Names: []string{}, Labels: []int{}}
	for _, g := range groups(args) {
		set, err := l.normalSet(ctx, reading, g)
		if err != nil {
			return nil, err
		}
		if set.Shape() != all.Shape() {
			return nil, fmt.Errorf("%s has images of %v, the bundle takes %v", set.Name, set.Shape(), all.Shape())
		}
		for i := range set.Len() {
			all.Names = append(all.Names, set.ImageName(i))
			all.Labels = append(all.Labels, len(all.Classes))
			all.Classes = append(all.Classes, set.ClassName(i))
		}
		all.Pix = append(all.Pix, set.Pix...)
	}
	return l.newImages(all), nil
}

// newImages leaves out what must not be indexed, and says so.
func (l *lesson) newImages(set *dataset.Set) *dataset.Set {
	indexed := l.byName()
	held := map[nln.Digest]bool{}
	for _, d := range l.held.Digests {
		held[d] = true
	}
	var keep []int
	var known, calib int
	values := make([]float32, set.Shape().Len())
	for i := range set.Len() {
		name := set.ImageName(i)
		switch {
		case indexed[name] != nil && !l.sameNames:
			known++
		case held[nln.DigestOf(set.Gather([]int{i}, values).Pix)]:
			calib++
		default:
			indexed[name] = []int64{} // the same name again is left out
			keep = append(keep, i)
		}
	}
	if known > 0 {
		l.meter.say("%d images are indexed already, by their names, and left out; --same-names takes them where they are others", known)
	}
	if calib > 0 {
		l.meter.say("%d images are held out for calibration and left out", calib)
	}
	return set.Subset(keep)
}

// normalSet reads image files, or those of a folder, or the images of a data set
// that are normal as they were when the bundle was trained.
func (l *lesson) normalSet(ctx context.Context, reading dataset.Reading, g group) (*dataset.Set, error) {
	if g.files {
		return l.files(ctx, reading, g.args)
	}
	arg := g.args[0]
	kind, location, err := dataset.Resolve(arg)
	if err != nil {
		return nil, err
	}
	if kind == "folder" {
		files, err := dataset.ImageFiles(location)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s holds no image files", location)
		}
		for i := range files {
			files[i] = filepath.Join(location, files[i])
		}
		return l.files(ctx, reading, files)
	}
	sp, err := reading.OpenContext(ctx, arg)
	if err != nil {
		return nil, err
	}
	if sp.Train == nil {
		return nil, fmt.Errorf("%s has no training images", arg)
	}
	data := l.bundle.Manifest.Data
	task, err := sp.Task(data.Protocol, data.Class)
	if err != nil {
		return nil, err
	}
	sp.Train.Keep(task.Inliers)
	return sp.Train, nil
}

// files reads image files of the bundle's shape.
func (l *lesson) files(ctx context.Context, reading dataset.Reading, paths []string) (*dataset.Set, error) {
	shape := l.bundle.Scorer.Shape()
	set := &dataset.Set{Name: "files", Size: shape, Names: paths, Pix: make([]uint8, len(paths)*shape.Len())}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(runtime.GOMAXPROCS(0))
	const step = 64 // files that one reader, whose memory is used again, reads
	for lo := 0; lo < len(paths); lo += step {
		tasks.Go(func() error {
			r := dataset.ImageReader{Reading: reading}
			for i := lo; i < min(lo+step, len(paths)); i++ {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := r.Read(set.Image(i), paths[i], shape); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return set, tasks.Wait()
}
