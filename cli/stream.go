package cli

import (
	"context"
	"fmt"
	"iter"

	"github.com/nlnctl/nlnctl/dataset"
)

// An imageStream is images that come one after the other, as many as there are.
type imageStream struct {
	files func(ctx context.Context) iter.Seq2[*dataset.File, error]
	// reader returns a function for one goroutine, which stores the pixels of a file
	// in dst and is done with it.
	reader func() func(f *dataset.File, dst []uint8) error
}

// handOutStream is handOut for a stream. Each file is given out by itself as it
// comes, so that no more encoded files are in memory than there are readers, and
// one. What came before an error is scored and written as if the stream had ended.
func (p *pipeline) handOutStream(ctx context.Context, source *imageSource, free <-chan *imageBatch, filling chan<- *imageBatch, blocks chan<- block) (total int, broken error) {
	var b *imageBatch // nil, or with room for more
	for f, err := range source.stream.files(ctx) {
		if err != nil {
			broken = err
			break
		}
		if b == nil {
			select {
			case b = <-free:
			case <-ctx.Done():
				return total, ctx.Err()
			}
			p.reset(b, source, total, p.size)
			if b.n = 0; b.files == nil {
				b.files = make([]*dataset.File, p.size)
			}
		}
		i := b.n
		b.files[i] = f
		b.unread.Add(1)
		select {
		case blocks <- block{b, i, i + 1}:
		case <-ctx.Done():
			b.unread.Done() // scoreBatches waits for it, and then sees that ctx has ended
		}
		total++
		if b.n++; b.n == p.size {
			filling <- b
			b = nil
		}
	}
	if b != nil {
		filling <- b
	}
	return total, broken
}

// scoreStream scores the image files of an archive or of an object store.
func (r *run) scoreStream(ctx context.Context, spec string) error {
	shape, before := r.scorer.Shape(), r.total
	p := r.pipeline()
	done, err := r.streamDone(ctx, spec, p.size)
	if err != nil {
		return err
	}
	s, err := r.reading.Stream(ctx, spec)
	if err != nil {
		return err
	}
	defer s.Close()
	r.meter.say("scoring the images of %s as %v: about %s of memory", spec, shape, megabytes(scorePeak(r.bundle, inFlight*p.size)))
	p.sources = only(imageSource{stream: &imageStream{files: func(ctx context.Context) iter.Seq2[*dataset.File, error] { return behind(s.Files(ctx), done) }, reader: streamReader(shape, r.reading)}})
	p.readers = max(r.readers, s.Readers)
	p.wrote = func(_ *imageSource, more int) error {
		r.meter.show("scored %d images", done+more)
		return r.flush()
	}
	if err := p.run(ctx); err != nil {
		return err
	}
	if r.total == before {
		return fmt.Errorf("%s holds no image files%s", spec, r.chosen())
	}
	return nil
}

// streamDone returns how many images of an archive or an object store have their rows
// already. It goes through them once by itself, without fetching any.
func (r *run) streamDone(ctx context.Context, spec string, size int) (int, error) {
	if r.partial == nil || r.partial.rows == nil {
		return 0, nil
	}
	s, err := r.reading.Stream(ctx, spec)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	done, err := r.partial.skip(func(yield func(string, error) bool) {
		for f, err := range s.Files(ctx) {
			if err != nil {
				yield("", err)
				return
			}
			name := f.Name
			f.Done()
			if !yield(name, nil) {
				return
			}
		}
	}, size, &r.tally)
	if done > 0 {
		r.meter.say("%d of %s have their rows already", done, spec)
	}
	return done, err
}

// behind returns the files behind the first n.
func behind(files iter.Seq2[*dataset.File, error], n int) iter.Seq2[*dataset.File, error] {
	return func(yield func(*dataset.File, error) bool) {
		for f, err := range files {
			if n > 0 && err == nil {
				n--
				f.Done()
				continue
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// chosen is what is said behind "no image files" where there might be others.
func (r *run) chosen() string {
	if len(r.reading.Include)+len(r.reading.Exclude) > 0 {
		return " that --include and --exclude choose"
	}
	return ""
}

// streamReader reads image files of a shape from their bytes.
func streamReader(shape dataset.Shape, reading dataset.Reading) func() func(*dataset.File, []uint8) error {
	return func() func(*dataset.File, []uint8) error {
		r := dataset.ImageReader{Reading: reading}
		return func(f *dataset.File, dst []uint8) error {
			defer f.Done()
			data, err := f.Bytes()
			if err != nil {
				return err
			}
			return r.ReadBytes(dst, data, f.Name, shape)
		}
	}
}
