package dataset

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
)

// A Store holds the objects below a URL. It may be used from several goroutines.
type Store interface {
	// List yields the objects in the order of their names, as they are listed: a
	// store may hold more than there is memory for. After an error, such as that
	// there is no such bucket, nothing more is yielded.
	List(ctx context.Context) iter.Seq2[Object, error]

	// Read appends the bytes of an object to buf, at most so many from its
	// beginning.
	Read(ctx context.Context, name string, buf []byte, most int64) ([]byte, error)

	Close() error
}

// An Object is what a [Store] holds.
type Object struct {
	Name string // slash-separated, relative to the URL; it is never empty
	Size int64  // in bytes
}

// ErrNoStore is wrapped by the error of reading a URL with a [Reading] that cannot
// open any.
var ErrNoStore = errors.New("object stores cannot be opened here")

// storeReaders is how many objects are read at the same time. A request takes tens
// of milliseconds, most of them waiting.
const storeReaders = 16

// storeKind is the kind of URLs of a scheme.
func storeKind(scheme, usage string) kind {
	return kind{
		name: scheme, usage: usage,
		open: func(ctx context.Context, location string, r Reading) (*Splits, error) {
			return openStore(ctx, scheme+":"+location, r)
		},
		stream: func(ctx context.Context, location string, r Reading) (*Stream, error) {
			return streamStore(ctx, scheme+":"+location, r)
		},
	}
}

// A storeURL is a URL and the store that it opened.
type storeURL struct {
	Store
	url  string // what names of images in errors and rows begin with
	base string // name of the set
}

func dialStore(ctx context.Context, spec string, r Reading) (*storeURL, error) {
	u, err := url.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("dataset: open: %w", err)
	}
	if !strings.HasPrefix(spec, u.Scheme+"://") {
		return nil, fmt.Errorf("dataset: open %q: two slashes follow the colon, as in %s://%s", spec, u.Scheme, strings.TrimLeft(u.Opaque+u.Path, "/"))
	}
	if r.OpenStore == nil {
		return nil, fmt.Errorf("dataset: open %s: %w", spec, ErrNoStore)
	}
	s, err := r.OpenStore(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("dataset: open %s: %w", spec, err)
	}
	bare := *u
	bare.RawQuery, bare.Fragment, bare.User = "", "", nil
	// Names are as people write them: not escaped.
	full := bare.Scheme + "://" + bare.Host + strings.TrimSuffix(bare.Path, "/")
	return &storeURL{Store: s, url: full, base: u.Scheme + "/" + path.Join(bare.Host, bare.Path)}, nil
}

// full returns how errors and rows call an object.
func (s *storeURL) full(name string) string {
	if strings.HasSuffix(s.url, "/"+name) && IsImageName(s.url) {
		return s.url // the URL of one object
	}
	return s.url + "/" + name
}

// images yields the image files that the globs choose, and counts the other files.
func (s *storeURL) images(ctx context.Context, r Reading, other func(name string)) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range s.List(ctx) {
			switch {
			case err != nil:
				yield(o, fmt.Errorf("dataset: list %s: %w", s.url, err))
				return
			case isHidden(o.Name), strings.HasSuffix(o.Name, "/"):
			case !IsImageName(o.Name):
				other(o.Name)
			case r.takes(o.Name):
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

// read appends an image file to buf, which is within the limit on bytes.
func (s *storeURL) read(ctx context.Context, name string, buf []byte, r Reading) ([]byte, error) {
	most := r.Limits.filled().Bytes
	buf, err := s.Read(ctx, name, buf, most+1)
	if err != nil {
		return buf, fmt.Errorf("dataset: %s: read image: %w", s.full(name), err)
	}
	if int64(len(buf)) > most {
		return buf, tooManyBytes(s.full(name), most)
	}
	return buf, nil
}

// streamStore goes through the image files below a URL.
func streamStore(ctx context.Context, spec string, r Reading) (*Stream, error) {
	s, err := dialStore(ctx, spec, r)
	if err != nil {
		return nil, err
	}
	most := r.Limits.filled().Bytes
	files := func(ctx context.Context) iter.Seq2[*File, error] {
		return func(yield func(*File, error) bool) {
			for o, err := range s.images(ctx, r, func(string) {}) {
				if err != nil {
					yield(nil, err)
					return
				}
				f := &File{Name: s.full(o.Name)}
				f.fetch = func(buf []byte) ([]byte, error) { return s.read(ctx, o.Name, buf, r) }
				if o.Size > most {
					f.err = tooManyBytes(f.Name, most)
				}
				if !yield(f, nil) {
					return
				}
			}
		}
	}
	return &Stream{Readers: storeReaders, files: files, close: s.Close}, nil
}

// openStore reads the image files below a URL, as openFolder reads a folder. Each
// is asked for twice, once for its size and once for its pixels.
func openStore(ctx context.Context, spec string, r Reading) (*Splits, error) {
	s, err := dialStore(ctx, spec, r)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var names []string
	others, other := 0, ""
	for o, err := range s.images(ctx, r, func(name string) { others, other = others+1, cmp.Or(other, name) }) {
		if err != nil {
			return nil, err
		}
		names = append(names, o.Name)
	}
	if len(names) == 0 {
		return nil, r.noImages("folder", s.url)
	}
	slices.Sort(names)
	kind, _, _ := strings.Cut(spec, ":")
	sp, parts := folderSets(kind, s.base, names)
	for _, p := range parts {
		if err := p.set.readPictures(s.pictures(ctx, p, r), r); err != nil {
			return nil, err
		}
	}
	if others > 0 {
		sp.noteOthers(s.url, others, other)
	}
	return sp, nil
}

// pictures are the images of a part.
func (s *storeURL) pictures(ctx context.Context, p part, r Reading) pictures {
	readers := sync.Pool{New: func() any { return &ImageReader{Reading: r} }}
	object := func(i int) string { return p.prefix + p.set.Names[i] }
	name := func(i int) string { return s.full(object(i)) }
	stat := func(i int) (Shape, error) {
		buf, err := s.Read(ctx, object(i), newBuffer(), headBytes)
		if err == nil && len(buf) == headBytes && !bytes.HasPrefix(buf, []byte(pngMagic)) {
			buf, err = s.read(ctx, object(i), buf[:0], r)
		} else if err != nil {
			err = fmt.Errorf("dataset: %s: read image: %w", name(i), err)
		}
		defer freeBuffer(buf)
		if err != nil {
			return Shape{}, err
		}
		return r.stat(buf, name(i))
	}
	read := func(i int, dst []uint8, want Shape) error {
		buf, err := s.read(ctx, object(i), newBuffer(), r)
		defer freeBuffer(buf)
		if err != nil {
			return err
		}
		ir := readers.Get().(*ImageReader)
		defer readers.Put(ir)
		return ir.ReadBytes(dst, buf, name(i), want)
	}
	return pictures{n: len(p.set.Names), name: name, stat: stat, read: read, workers: storeReaders}
}
