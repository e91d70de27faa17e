package cli

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

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
	images  imageSource
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
	// wrote is called when done images have been written.
	wrote func(done int) error
}

// An imageSource holds n images that can be read in any order, or a stream of them.
type imageSource struct {
	n    int
	name func(i int) string
	// reader returns a function for one goroutine, which stores the pixels of
	// image i in dst.
	reader func() func(i int, dst []uint8) error

	stream *imageStream // nil where n, name and reader are set
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
	return imageSource{n: s.n - k, name: func(i int) string { return s.name(k + i) }, reader: reader}
}

const (
	// inFlight is how many batches a pipeline has: one that is read, one ready to
	// be scored, one that is scored and one that is written.
	inFlight = 4
	// readBlock is how many images a goroutine reads before it looks for others.
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
	first  int
	n      int             // images in it
	files  []*dataset.File // of a stream; nil elsewhere
	bytes  []uint8         // of all images, where these are scored; once scored, those of the sound ones alone
	pix    []float32       // the same, elsewhere
	errs   []error         // of each image, nil where it was read
	unread sync.WaitGroup
	scores []nln.Score // of the sound ones
	err    error       // of scoring
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
	if p.images.stream != nil {
		p.images.n = inFlight * p.size // or more
	}
	for range min(inFlight, (p.images.n+p.size-1)/p.size) {
		free <- p.newBatch(min(p.size, p.images.n))
	}
	handOut := p.handOut
	if p.images.stream != nil {
		handOut = p.handOutStream
	}
	var total int    // how many images were to be read
	var broken error // why there are no more
	stages.Go(func() { total, broken = handOut(ctx, free, filling, blocks) })
	for range p.readers {
		stages.Go(func() { p.readBlocks(ctx, blocks) })
	}
	stages.Go(func() { p.scoreBatches(ctx, filling, scored) })
	done := 0
	for b := range scored {
		if b.err != nil {
			return b.err
		}
		if err := p.writeBatch(b); err != nil {
			return err
		}
		done += len(b.errs)
		if err := p.wrote(done); err != nil {
			return err
		}
		free <- b
	}
	stages.Wait()
	if err := ctx.Err(); err != nil && (broken != nil || done < total) {
		if p.images.stream != nil {
			return fmt.Errorf("stopped after %d images: %w", done, err)
		}
		return fmt.Errorf("stopped after %d of %d images: %w", done, total, err)
	}
	return broken
}

// handOut gives the images out to be read, batch by batch in order, and returns how
// many there are.
func (p *pipeline) handOut(ctx context.Context, free <-chan *imageBatch, filling chan<- *imageBatch, blocks chan<- block) (int, error) {
	defer close(filling)
	defer close(blocks)
	for first := 0; first < p.images.n; first += p.size {
		var b *imageBatch
		select {
		case b = <-free:
		case <-ctx.Done():
			return p.images.n, ctx.Err()
		}
		n := min(p.size, p.images.n-first)
		b.reset(first, n)
		b.unread.Add((n + readBlock - 1) / readBlock)
		filling <- b
		for lo := 0; lo < n; lo += readBlock {
			select {
			case blocks <- block{b, lo, min(lo+readBlock, n)}:
			case <-ctx.Done():
				b.unread.Done() // scoreBatches waits for it, and then sees that ctx has ended
			}
		}
	}
	return p.images.n, nil
}

// newBatch returns a batch with room for so many images.
func (p *pipeline) newBatch(images int) *imageBatch {
	if p.scoreBytes != nil {
		return &imageBatch{bytes: make([]uint8, images*p.shape.Len())}
	}
	return &imageBatch{pix: make([]float32, images*p.shape.Len())}
}

// reset makes b one of n images, of which the first has a number.
func (b *imageBatch) reset(first, n int) {
	b.first, b.n, b.errs = first, n, append(b.errs[:0], make([]error, n)...)
}

// readBlocks reads what is given out.
func (p *pipeline) readBlocks(ctx context.Context, blocks <-chan block) {
	read, n := p.images.newReader(), p.shape.Len()
	one := make([]uint8, n)
	for b := range blocks {
		for i := b.lo; i < b.hi && ctx.Err() == nil; i++ {
			if p.scoreBytes != nil {
				b.errs[i] = read(b.imageBatch, i, b.bytes[i*n:(i+1)*n])
			} else if b.errs[i] = read(b.imageBatch, i, one); b.errs[i] == nil {
				dataset.Bytes{Shape: p.shape, N: 1, Pix: one, Scale: p.scale}.Images(b.pix[i*n : (i+1)*n])
			}
		}
		b.unread.Done()
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

// nameOf returns the name of image i of a batch.
func (s *imageSource) nameOf(b *imageBatch, i int) string {
	if s.stream != nil {
		return b.files[i].Name
	}
	return s.name(b.first + i)
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
		if err := p.write(p.images.nameOf(b, i), s, failed); err != nil {
			return err
		}
	}
	return nil
}
