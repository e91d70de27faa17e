package cli

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"time"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A pipeline takes images from where they lie to where their scores go, with
// reading, scoring and writing at work at the same time: the slowest of the three
// decides how long it takes, not their sum.
//
// Images stay in order. A fixed number of batches is handed round, so that the
// memory in use does not depend on the number of images.
type pipeline struct {
	// sources yields where images come from, one source after the other. A goroutine of
	// its own goes through it, so that a source is found while the images of another are
	// scored. After an error, what came before is scored and written as if it ended there.
	sources iter.Seq2[imageSource, error]
	shape   dataset.Shape
	scale   dataset.Scale // of values
	size    int           // images in a batch
	readers int           // goroutines that read, and make values of pixels

	// score appends the scores of the images x to dst. It is called from one
	// thread: libgomp keeps a pool of threads for each one that computes.
	score func(ctx context.Context, x dataset.Images, dst []nln.Score) ([]nln.Score, error)
	// scoreBytes, unless nil, takes the place of score; no values are made then.
	scoreBytes func(ctx context.Context, x dataset.Bytes, dst []nln.Score) ([]nln.Score, error)
	// write takes an image in its turn: its score, or why it could not be read.
	write func(name string, s *nln.Score, failed error) error
	// wrote is called when done images of a source have been written.
	wrote func(of *imageSource, done int) error
}

// An imageSource holds n images that can be read in any order, or a stream of them.
type imageSource struct {
	n    int
	name func(i int) string
	// reader returns a function for one goroutine, which stores the pixels of
	// image i in dst.
	reader func() func(i int, dst []uint8) error

	stream *imageStream // nil where n, name and reader are set

	before int       // images of the source that have their rows already, beside the n
	begun  time.Time // when it was found
}

// only yields one source.
func only(images imageSource) iter.Seq2[imageSource, error] {
	return func(yield func(imageSource, error) bool) { yield(images, nil) }
}

// names yields the names of all images.
func (s imageSource) names() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range s.n {
			if !yield(s.name(i), nil) {
				return
			}
		}
	}
}

// from returns the images from k on, under their names.
func (s imageSource) from(k int) imageSource {
	if k == 0 {
		return s
	}
	reader := func() func(i int, dst []uint8) error {
		read := s.reader()
		return func(i int, dst []uint8) error { return read(k+i, dst) }
	}
	return imageSource{n: s.n - k, name: func(i int) string { return s.name(k + i) }, reader: reader, before: s.before + k}
}

const (
	// inFlight is how many batches a pipeline has: one that is read, one ready to
	// be scored, one that is scored and one that is written.
	inFlight = 4
	// readBlock is how many images a goroutine reads at most before it looks for others.
	readBlock = 8
	// batchImages and batchBytes bound a batch: enough images to keep the
	// processor busy, and few large ones, so that reading, scoring and writing overlap
	// in a run of some hundred pictures.
	batchImages = 256
	batchBytes  = 8 << 20
)

// batchSize returns how many images of a shape make a batch.
func batchSize(shape dataset.Shape) int {
	return max(1, min(batchImages, batchBytes/(4*shape.Len())))
}

// An imageBatch is consecutive images on their way through a pipeline.
type imageBatch struct {
	source *imageSource
	first  int             // number in the source
	n      int             // images in it
	files  []*dataset.File // of a stream; nil elsewhere
	bytes  []uint8         // of all images, where these are scored; once scored, those of the sound ones alone
	pix    []float32       // the same, elsewhere
	errs   []error         // of each image, nil where it was read
	unread sync.WaitGroup  // images
	scores []nln.Score     // of the sound ones
	err    error           // of scoring
}

// A block is images lo up to, not including, hi of a batch.
type block struct {
	*imageBatch
	lo, hi int
}

// run takes all images through. When ctx ends, or after an error of score or
// write, it stops and returns the error; an image that cannot be read is no error.
// No goroutine is left behind.
func (p *pipeline) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var stages sync.WaitGroup
	defer stages.Wait()
	defer cancel()
	// None of the channels of batches is ever full.
	free, filling, scored := make(chan *imageBatch, inFlight), make(chan *imageBatch, inFlight), make(chan *imageBatch, inFlight)
	blocks := make(chan block)
	for range inFlight {
		free <- new(imageBatch)
	}
	var sources []sourceCount
	var broken error // why there are no more
	stages.Go(func() { sources, broken = p.handOut(ctx, free, filling, blocks) })
	for range p.readers {
		stages.Go(func() { p.readBlocks(ctx, blocks) })
	}
	stages.Go(func() { p.scoreBatches(ctx, filling, scored) })
	var of *imageSource // what was written last
	at, done := 0, 0    // the number of that source, and how many images of it
	for b := range scored {
		if b.err != nil {
			return b.err
		}
		if of != nil && b.source != of {
			at, done = at+1, 0
		}
		of = b.source
		if err := p.writeBatch(b); err != nil {
			return err
		}
		done += len(b.errs)
		if err := p.wrote(of, done); err != nil {
			return err
		}
		free <- b
	}
	stages.Wait()
	err := ctx.Err()
	if err == nil || len(sources) == 0 {
		return broken
	}
	if at+1 < len(sources) && done == sources[at].n {
		at, done = at+1, 0
	}
	switch {
	case broken == nil && done == sources[at].n:
		return nil
	case sources[at].stream:
		return fmt.Errorf("stopped after %d images: %w", done, err)
	}
	return fmt.Errorf("stopped after %d of %d images: %w", done, sources[at].n, err)
}

// A sourceCount is how many images of a source were to be read; those of a stream were
// counted as they came.
type sourceCount struct {
	n      int
	stream bool
}

// handOut gives the images of all sources out to be read, batch by batch in order. It
// counts the sources that have any, and returns why there are no more of them.
func (p *pipeline) handOut(ctx context.Context, free <-chan *imageBatch, filling chan<- *imageBatch, blocks chan<- block) (sources []sourceCount, err error) {
	defer close(filling)
	defer close(blocks)
	for source, err := range p.sources {
		if err != nil {
			return sources, err
		}
		c := sourceCount{n: source.n}
		if source.stream != nil {
			c.stream = true
			c.n, err = p.handOutStream(ctx, &source, free, filling, blocks)
		} else {
			err = p.handOutFiles(ctx, &source, free, filling, blocks)
		}
		if c.n > 0 || c.stream {
			sources = append(sources, c)
		}
		if err != nil {
			return sources, err
		}
	}
	return sources, nil
}

// handOutFiles is handOut for a source of n images.
func (p *pipeline) handOutFiles(ctx context.Context, source *imageSource, free <-chan *imageBatch, filling chan<- *imageBatch, blocks chan<- block) error {
	for first := 0; first < source.n; first += p.size {
		var b *imageBatch
		select {
		case b = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		n := min(p.size, source.n-first)
		p.reset(b, source, first, n)
		b.unread.Add(n)
		filling <- b
		for lo, hi := 0, 0; lo < n; lo = hi {
			hi = lo + blockSize(n-lo, p.readers)
			select {
			case blocks <- block{b, lo, hi}:
			case <-ctx.Done():
				b.unread.Add(lo - hi) // scoreBatches waits for it, and then sees that ctx has ended
			}
		}
	}
	return nil
}

// blockSize returns how many images to give out at a time where so many are left of a
// batch: fewer towards its end, so that no reader has many slow ones before it while
// the others have none.
func blockSize(left, readers int) int {
	return max(1, min(readBlock, left/(2*readers)))
}

// reset makes b a batch of n images of a source, of which the first has a number.
func (p *pipeline) reset(b *imageBatch, source *imageSource, first, n int) {
	b.source, b.first, b.n, b.errs = source, first, n, append(b.errs[:0], make([]error, n)...)
	switch values := n * p.shape.Len(); {
	case p.scoreBytes != nil && len(b.bytes) < values:
		b.bytes = make([]uint8, values)
	case p.scoreBytes == nil && len(b.pix) < values:
		b.pix = make([]float32, values)
	}
}

// readBlocks reads what is given out.
func (p *pipeline) readBlocks(ctx context.Context, blocks <-chan block) {
	var of *imageSource
	var read func(b *imageBatch, i int, dst []uint8) error // images of it
	n := p.shape.Len()
	one := make([]uint8, n)
	for b := range blocks {
		if b.source != of {
			of, read = b.source, b.source.newReader()
		}
		for i := b.lo; i < b.hi && ctx.Err() == nil; i++ {
			if p.scoreBytes != nil {
				b.errs[i] = read(b.imageBatch, i, b.bytes[i*n:(i+1)*n])
			} else if b.errs[i] = read(b.imageBatch, i, one); b.errs[i] == nil {
				dataset.Bytes{Shape: p.shape, N: 1, Pix: one, Scale: p.scale}.Images(b.pix[i*n : (i+1)*n])
			}
		}
		b.unread.Add(b.lo - b.hi)
	}
}

// newReader returns a function for one goroutine, which stores the pixels of image
// i of a batch in dst.
func (s *imageSource) newReader() func(b *imageBatch, i int, dst []uint8) error {
	if s.stream != nil {
		read := s.stream.reader()
		return func(b *imageBatch, i int, dst []uint8) error { return read(b.files[i], dst) }
	}
	read := s.reader()
	return func(b *imageBatch, i int, dst []uint8) error { return read(b.first+i, dst) }
}

// nameOf returns the name of image i.
func (b *imageBatch) nameOf(i int) string {
	if b.source.stream != nil {
		return b.files[i].Name
	}
	return b.source.name(b.first + i)
}

// scoreBatches scores batches as they have been read, in order, until one fails.
func (p *pipeline) scoreBatches(ctx context.Context, filling <-chan *imageBatch, scored chan<- *imageBatch) {
	defer close(scored)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for b := range filling {
		b.unread.Wait()
		b.errs = b.errs[:b.n]
		if b.err = ctx.Err(); b.err == nil {
			b.err = p.scoreBatch(ctx, b)
		}
		if ctx.Err() != nil {
			return
		}
		scored <- b
		if b.err != nil {
			return
		}
	}
}

// scoreBatch moves the images that were read together and scores them.
func (p *pipeline) scoreBatch(ctx context.Context, b *imageBatch) (err error) {
	n, sound := p.shape.Len(), 0
	for i, failed := range b.errs {
		if failed == nil {
			if sound < i {
				move(b.bytes, n, i, sound)
				move(b.pix, n, i, sound)
			}
			sound++
		}
	}
	b.scores = b.scores[:0]
	switch {
	case sound == 0:
	case p.scoreBytes != nil:
		b.scores, err = p.scoreBytes(ctx, dataset.Bytes{Shape: p.shape, N: sound, Pix: b.bytes[:sound*n], Scale: p.scale}, b.scores)
	default:
		b.scores, err = p.score(ctx, dataset.Images{Shape: p.shape, N: sound, Pix: b.pix[:sound*n]}, b.scores)
	}
	return err
}

// move copies an image of n values to another place; there may be none.
func move[T any](all []T, n, from, to int) {
	if len(all) > 0 {
		copy(all[to*n:(to+1)*n], all[from*n:(from+1)*n])
	}
}

func (p *pipeline) writeBatch(b *imageBatch) error {
	next := 0
	for i, failed := range b.errs {
		var s *nln.Score
		if failed == nil {
			s = &b.scores[next]
			next++
		}
		if err := p.write(b.nameOf(i), s, failed); err != nil {
			return err
		}
	}
	return nil
}
