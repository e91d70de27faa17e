package dataset

import (
	"context"
	"fmt"
	"io"
	"iter"
	"runtime"
	"sync"
)

// A Stream goes through the image files of an archive or of an object store one
// after the other. Neither their names nor their bytes are ever held all at once,
// so that there may be more of them than fit in memory.
type Stream struct {
	// Readers is how many goroutines should call [File.Bytes]: more than there are
	// processors where most of their time is spent waiting for a network.
	Readers int

	files func(ctx context.Context) iter.Seq2[*File, error]
	close func() error
}

// IsStream reports whether sets of a kind, see [Resolve], can be streamed.
func IsStream(kind string) bool {
	for _, k := range kinds {
		if k.name == kind {
			return k.stream != nil
		}
	}
	return false
}

// Stream begins to go through the image files that spec names, those that Include
// and Exclude choose. It returns an error if their kind is none that can be
// streamed. The caller closes the stream, once no File of it is in use.
func (r Reading) Stream(ctx context.Context, spec string) (*Stream, error) {
	k, location, err := r.resolve(spec)
	if err != nil {
		return nil, err
	}
	if k.stream == nil {
		return nil, fmt.Errorf("dataset: stream %s: a set of kind %s cannot be streamed", spec, k.name)
	}
	return k.stream(ctx, location, r)
}

// Files yields the image files, in the order in which they lie there; it is called
// once. A file that cannot be read is yielded all the same, its Bytes return why.
// After an error, which is the archive's or the store's, nothing more is yielded.
func (s *Stream) Files(ctx context.Context) iter.Seq2[*File, error] { return s.files(ctx) }

// Close ends the stream.
func (s *Stream) Close() error { return s.close() }

// A File is an encoded image of a [Stream]. It takes memory from when it is yielded
// or from when its bytes are asked for until Done is called, which its user must
// do: so many files are in memory as their user has not done with.
type File struct {
	Name string // of the archive or URL and of the image in it

	data  []byte
	err   error
	fetch func(buf []byte) ([]byte, error) // nil where data is there already
}

// Bytes returns the bytes of the file, valid until Done. It may be called from
// another goroutine than the one that goes through the stream.
func (f *File) Bytes() ([]byte, error) {
	if f.fetch != nil && f.err == nil && f.data == nil {
		f.data, f.err = f.fetch(newBuffer())
	}
	return f.data, f.err
}

// Done gives back the memory of the file.
func (f *File) Done() {
	freeBuffer(f.data)
	f.data, f.fetch = nil, nil
}

// buffers are slices that hold encoded images, for the next ones.
var buffers sync.Pool

// newBuffer returns an empty slice with room for a small picture.
func newBuffer() []byte {
	if b, ok := buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 16<<10)
}

func freeBuffer(b []byte) {
	if cap(b) > 0 && cap(b) <= maxKept {
		buffers.Put(&b)
	}
}

// readExactly appends n bytes of r to buf, growing it as they come.
func readExactly(r io.Reader, buf []byte, n int64) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		k := int(min(n, max(step, int64(cap(buf)-len(buf)))))
		at := len(buf)
		buf = append(buf, make([]byte, k)...)
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return buf[:at], err
		}
		n -= int64(k)
	}
	return buf, nil
}

// inParallel calls do for each file of a stream from several goroutines, each with
// a reader of its own, and returns the error of the first file in order that
// failed, or else the stream's.
func (s *Stream) inParallel(ctx context.Context, reading Reading, do func(r *ImageReader, f *File) error) error {
	type job struct {
		i int
		f *File
	}
	var (
		jobs   = make(chan job)
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed = -1
		first  error
	)
	fail := func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed < 0 || i < failed {
			failed, first = i, err
		}
	}
	for range max(s.Readers, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			r := &ImageReader{Reading: reading}
			for j := range jobs {
				if err := do(r, j.f); err != nil {
					fail(j.i, err)
				}
				j.f.Done()
			}
		})
	}
	i := 0
	for f, err := range s.Files(ctx) {
		if err != nil {
			fail(i, err)
			break
		}
		jobs <- job{i, f}
		i++
		mu.Lock()
		stop := failed >= 0 // all before a failure have been handed out by then
		mu.Unlock()
		if stop {
			break
		}
	}
	close(jobs)
	wg.Wait()
	return first
}
