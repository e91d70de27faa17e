package batch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// A Store is where a plan and its results lie: a folder, or the objects below a URL.
// It may be used from several goroutines.
type Store struct {
	URL string // as it was opened
	backend
}

// An object is what a store lists.
type object struct {
	key  string
	size int64
}

// A backend is a kind of store. A missing object's errors wrap fs.ErrNotExist.
type backend interface {
	// read returns n bytes from off of an object, all of it where n is negative.
	read(ctx context.Context, key string, off, n int64) ([]byte, error)
	open(ctx context.Context, key string) (io.ReadCloser, error)
	exists(ctx context.Context, key string) (bool, error)
	// list yields the objects below a folder, whose name ends with a slash.
	list(ctx context.Context, folder string) iter.Seq2[object, error]
	remove(ctx context.Context, key string) error
	// stage creates a local file that commit is to take.
	stage() (*os.File, error)
	// commit makes the staged file an object, whole or not at all, and durable. If
	// anew is set, an object of that name stays, and created is false.
	commit(ctx context.Context, f *os.File, key string, anew bool) (created bool, err error)
	// sweep removes what writers left that were ended in the middle.
	sweep()
	close() error
}

// OpenStore opens a store by a URL of scheme file, s3, gs or azblob, or a path, which
// is a folder. It need not exist: what is written makes it.
func OpenStore(ctx context.Context, location string) (*Store, error) {
	if location == "" {
		return nil, errors.New("batch: open store: no folder or URL is given")
	}
	if !strings.Contains(location, "://") {
		return openFolder(location, location)
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("batch: open store: %w", err)
	}
	if u.Scheme == "file" {
		if u.Host != "" && u.Host != "localhost" {
			return nil, fmt.Errorf("batch: open store %s: three slashes begin the URL of a folder: file:///%s%s", location, u.Host, u.Path)
		}
		return openFolder(location, u.Path)
	}
	b, err := openBucket(ctx, location)
	if err != nil {
		return nil, fmt.Errorf("batch: open store %s: %w", location, err)
	}
	return &Store{location, b}, nil
}

func openFolder(location, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("batch: open store %s: %w", location, err)
	}
	if st, err := os.Stat(path); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("batch: open store %s: it is a file, want a folder", location)
	}
	return &Store{location, folder(path)}, nil
}

// Close releases what the store holds.
func (st *Store) Close() error { return st.close() }

// Open opens an object, such as one that Results names. The error wraps
// fs.ErrNotExist where there is none.
func (st *Store) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := st.open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("batch: read %s of %s: %w", key, st.URL, err)
	}
	return r, nil
}

// Put writes an object, in the place of what has its name: something beside the results,
// such as pictures. Names that the package itself uses are for it alone.
func (st *Store) Put(ctx context.Context, key string, data []byte) error {
	if _, err := st.put(ctx, key, data, false); err != nil {
		return fmt.Errorf("batch: write %s of %s: %w: %w", key, st.URL, ErrStore, err)
	}
	return nil
}

// put writes a small object.
func (st *Store) put(ctx context.Context, key string, data []byte, anew bool) (created bool, err error) {
	s, err := st.draft()
	if err != nil {
		return false, err
	}
	defer s.discard()
	s.Write(data)
	return s.commit(ctx, key, anew)
}

// remove removes an object, which need not be there.
func (st *Store) removeIfThere(ctx context.Context, key string) error {
	if err := st.remove(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("batch: remove %s of %s: %w", key, st.URL, err)
	}
	return nil
}

// A draft is an object that is being written.
type draft struct {
	st  *Store
	f   *os.File
	w   *bufio.Writer
	n   int64
	err error // the first of writing
}

func (st *Store) draft() (*draft, error) {
	f, err := st.stage()
	if err != nil {
		return nil, fmt.Errorf("batch: write to %s: %w: %w", st.URL, ErrStore, err)
	}
	return &draft{st: st, f: f, w: bufio.NewWriterSize(f, 1<<16)}, nil
}

func (d *draft) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.w.Write(p)
	d.n += int64(n)
	d.err = err
	return n, err
}

func (d *draft) commit(ctx context.Context, key string, anew bool) (created bool, err error) {
	if err = d.err; err == nil {
		err = d.w.Flush()
	}
	if err == nil {
		created, err = d.st.backend.commit(ctx, d.f, key, anew)
	}
	if err != nil {
		return false, fmt.Errorf("batch: write %s of %s: %w: %w", key, d.st.URL, ErrStore, err)
	}
	return created, nil
}

// discard removes what commit has not taken. It may be called after commit.
func (d *draft) discard() {
	d.f.Close()
	os.Remove(d.f.Name())
}
