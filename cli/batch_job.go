package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nlnctl/nlnctl/batch"
	"github.com/nlnctl/nlnctl/buckets"
	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/cgo/torch"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/internal/atomicfile"
	"github.com/nlnctl/nlnctl/nln"
	"github.com/parquet-go/parquet-go"
	"gocloud.dev/gcerrors"
)

// statusShardFailed is of an image whose shard could not be done, whatever its part in
// that was.
const statusShardFailed = "shard failed"

// A scoreJob scores the shards of one plan.
type scoreJob struct {
	bundle  *bundle.Bundle
	scorer  *nln.Scorer
	reading dataset.Reading
	dir     string        // of the images; "": they are in store
	store   dataset.Store // nil where dir is set
	input   string        // URL of store
	readers int

	output   *batch.Store
	heatmaps string // kinds of files, as of newHeatmaps; "": none
}

// Options of scoring that a plan has.
const (
	optionFPR       = "fpr"
	optionThreshold = "threshold"
	optionHeatmaps  = "heatmaps"
)

// heatmapFolder is where heat maps lie in an output, by the names of their images.
const heatmapFolder = "heatmaps/"

// openJob opens what the shards of a plan need: the bundle, which must be the very one
// that the plan was made with, and the images.
func openJob(ctx context.Context, st *batch.Store, p *batch.Plan, limits dataset.Reading, device func() (torch.Device, error)) (_ *scoreJob, err error) {
	path, err := fetchBundle(ctx, p.Model, p.Digest)
	if err != nil {
		return nil, err
	}
	j := &scoreJob{readers: runtime.GOMAXPROCS(0), input: p.Input, output: st, heatmaps: p.Options[optionHeatmaps]}
	if j.bundle, err = bundle.OpenOn(path, device); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.Close()
		}
	}()
	if j.bundle.Digest != p.Digest {
		return nil, fmt.Errorf("%s has the digest %.16s, the plan was made with %.16s: bring that one back, or make a plan with another output", p.Model, j.bundle.Digest, p.Digest)
	}
	if j.scorer, err = j.policy(p.Options); err != nil {
		return nil, err
	}
	j.reading = readingOf(j.bundle, limits)
	if j.dir, err = localPath(p.Input); err == nil {
		return j, nil
	}
	j.store, err = buckets.Open(ctx, p.Input)
	j.readers = max(j.readers, storeReaders)
	return j, err
}

// storeReaders is how many goroutines read from an object store, where most of their time
// is spent waiting.
const storeReaders = 32

// policy returns the scorer that a plan's options ask for.
func (j *scoreJob) policy(options map[string]string) (*nln.Scorer, error) {
	p := j.bundle.Scorer.Config().Policy
	for name, text := range options {
		if name == optionHeatmaps {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("the plan's option %s: %w", name, err)
		}
		switch name {
		case optionFPR:
			p.FPR, p.Threshold = v, nil
		case optionThreshold:
			p.Threshold = &v
		default:
			return nil, fmt.Errorf("the plan's option %q is not known to this program: update it", name)
		}
	}
	if len(options) == 0 {
		return j.bundle.Scorer, nil
	}
	return j.bundle.Scorer.With(p)
}

// Close closes what openJob opened.
func (j *scoreJob) Close() error {
	err := j.bundle.Close()
	if j.store != nil {
		err = errors.Join(err, j.store.Close())
	}
	return err
}

// Do scores the images of a shard.
func (j *scoreJob) Do(ctx context.Context, s batch.Shard, w io.Writer) (batch.Counts, error) {
	rows := newParquetRows(w)
	r := j.run(rows)
	if j.heatmaps != "" {
		dir, err := os.MkdirTemp("", "nlnctl-heatmaps-")
		if err != nil {
			return batch.Counts{}, err
		}
		defer os.RemoveAll(dir)
		if r.heat, err = newHeatmaps(dir, j.heatmaps, nln.DefaultPixelFPR, j.scorer, j.bundle.Digest); err != nil {
			return batch.Counts{}, err
		}
	}
	before := int64(0)
	advance := func(done int) error {
		batch.Advance(ctx, int64(done)-before)
		before = int64(done)
		return ctx.Err()
	}
	var err error
	if s.Plan.Kind == batch.Archives {
		for _, name := range s.Items {
			if err = j.archive(ctx, r, name, advance); err != nil {
				break
			}
		}
	} else {
		err = j.through(ctx, r, j.source(ctx, s.Items), advance)
	}
	if r.heat != nil { // before the rows that speak of them
		err = errors.Join(err, r.heat.wait())
		if err == nil {
			err = j.upload(ctx, r.heat.dir)
		}
	}
	if err == nil {
		err = rows.close()
	}
	return batch.Counts{Rows: int64(r.total), OK: int64(r.total - r.bad), Bad: int64(r.bad), Novel: int64(r.novel)}, err
}

// upload puts the files of heat maps into the output.
func (j *scoreJob) upload(ctx context.Context, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return j.output.Put(ctx, heatmapFolder+filepath.ToSlash(name), data)
	})
}

// run returns what puts scores into rows.
func (j *scoreJob) run(rows rowWriter) *run {
	r := &run{scorer: j.scorer, bundle: j.bundle, reading: j.reading, meter: &meter{}, readers: j.readers, rows: rows, out: bufio.NewWriter(io.Discard)}
	r.threshold = finiteThreshold(j.scorer.Calibration())
	return r
}

func (j *scoreJob) through(ctx context.Context, r *run, images imageSource, wrote func(done int) error) error {
	p := r.pipeline()
	p.sources, p.wrote = only(images), func(_ *imageSource, done int) error { return wrote(done) }
	p.write = func(name string, s *nln.Score, failed error) error {
		var store *storeError
		if errors.As(failed, &store) {
			return failed // which the image is not to blame for
		}
		return r.write(name, s, failed)
	}
	return p.run(ctx)
}

// source reads the images of a shard by their names.
func (j *scoreJob) source(ctx context.Context, names []string) imageSource {
	shape := j.scorer.Shape()
	if j.store == nil {
		files := fileSource(j.dir, names, shape, j.reading)
		files.name = func(i int) string { return names[i] }
		return files
	}
	return imageSource{n: len(names), name: func(i int) string { return names[i] }, reader: func() func(int, []uint8) error {
		r := dataset.ImageReader{Reading: j.reading}
		var data []byte
		return func(i int, dst []uint8) (err error) {
			if data, err = j.fetch(ctx, names[i], data[:0]); err != nil {
				return err
			}
			return r.ReadBytes(dst, data, names[i], shape)
		}
	}}
}

// A storeError says that the store, not the image, is to blame.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

const (
	fetchTries = 4
	fetchPause = 200 * time.Millisecond // doubled each time
)

// fetch reads an object, again where the store failed. That there is none is the
// image's own fault.
func (j *scoreJob) fetch(ctx context.Context, name string, buf []byte) ([]byte, error) {
	most := j.reading.Limits.Bytes
	if most == 0 {
		most = dataset.MaxFileBytes
	}
	for try := 1; ; try++ {
		data, err := j.store.Read(ctx, name, buf[:0], most+1)
		if err == nil || gcerrors.Code(err) == gcerrors.NotFound {
			return data, err
		}
		if try == fetchTries || ctx.Err() != nil {
			return data, &storeError{err}
		}
		select {
		case <-ctx.Done():
		case <-time.After(fetchPause << try):
		}
	}
}

// archive scores the images of an archive, which from a store is fetched whole.
func (j *scoreJob) archive(ctx context.Context, r *run, name string, wrote func(done int) error) error {
	path := filepath.Join(j.dir, filepath.FromSlash(name))
	if j.store != nil {
		tmp, err := os.MkdirTemp("", "nlnctl-archive-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		path = filepath.Join(tmp, filepath.Base(name))
		if err := copyObject(ctx, j.input, name, path); err != nil {
			return err
		}
	}
	s, err := j.reading.Stream(ctx, "tar:"+path)
	if err != nil {
		return err
	}
	defer s.Close()
	before := r.total
	images := imageSource{stream: &imageStream{reader: streamReader(j.scorer.Shape(), j.reading)}}
	images.stream.files = func(ctx context.Context) iter.Seq2[*dataset.File, error] {
		return func(yield func(*dataset.File, error) bool) {
			for f, err := range s.Files(ctx) {
				if f != nil { // as it is called in INPUT, wherever that is
					f.Name = name + strings.TrimPrefix(f.Name, path)
				}
				if !yield(f, err) {
					return
				}
			}
		}
	}
	return j.through(ctx, r, images, func(done int) error { return wrote(before + done) })
}

// copyObject copies an object below the URL of a store to a file, however large it is.
func copyObject(ctx context.Context, url, name, path string) error {
	b, prefix, err := buckets.OpenBucket(ctx, url)
	if err != nil {
		return err
	}
	defer b.Close()
	r, err := b.NewReader(ctx, prefix+name, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// GiveUp writes rows that say that a shard failed.
func (j *scoreJob) GiveUp(_ context.Context, s batch.Shard, reason string, w io.Writer) (batch.Counts, error) {
	rows := newParquetRows(w)
	for _, name := range s.Items {
		if err := rows.put(&row{Image: name, Status: statusShardFailed, Reason: reason, Model: s.Plan.Digest}); err != nil {
			return batch.Counts{}, err
		}
	}
	n := int64(len(s.Items))
	return batch.Counts{Rows: n, Bad: n}, rows.close()
}

// Recount counts the rows of a result.
func (j *scoreJob) Recount(_ context.Context, _ batch.Shard, r io.ReaderAt, size int64) (c batch.Counts, err error) {
	f, err := parquet.OpenFile(r, size)
	if err != nil {
		return c, err
	}
	type judged struct {
		Status string `parquet:"status,dict"`
		Novel  *bool  `parquet:"novel"`
	}
	p := parquet.NewGenericReader[judged](f)
	defer p.Close()
	rows := make([]judged, parquetRows)
	for {
		n, err := p.Read(rows)
		for _, row := range rows[:n] {
			c.Rows++
			if row.Status == statusOK {
				c.OK++
			} else {
				c.Bad++
			}
			if row.Novel != nil && *row.Novel {
				c.Novel++
			}
		}
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return c, err
		}
	}
}

// fetchBundle returns where the bundle of a path or URL is on this machine: one from an
// object store is kept in the user's cache, by its digest, or where that is not known
// fetched anew.
func fetchBundle(ctx context.Context, model, digest string) (string, error) {
	if path, err := localPath(model); err == nil {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "nlnctl", "bundles", cmp.Or(digest, "newest"))
	if _, d, err := bundle.ReadManifest(dir); err == nil && d == digest {
		return dir, nil
	}
	s, err := buckets.Open(ctx, model)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	err = atomicfile.WriteDir(dir, true, func(tmp string) error {
		for o, err := range s.List(ctx) {
			if err != nil {
				return err
			}
			if err := copyObject(ctx, model, o.Name, filepath.Join(tmp, filepath.Base(o.Name))); err != nil {
				return err
			}
		}
		return nil
	})
	return dir, err
}
