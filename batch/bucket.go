package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/nlnctl/nlnctl/buckets"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// A bucket is a store of a cloud, or of what speaks the protocol of one.
type bucket struct {
	b      *blob.Bucket
	prefix string // of keys; empty or with a slash at its end
}

// uploads is how often an upload is tried, besides what the driver tries itself.
const uploads = 3

func openBucket(ctx context.Context, location string) (*bucket, error) {
	b, prefix, err := buckets.OpenBucket(ctx, location)
	if err != nil {
		return nil, err
	}
	return &bucket{b, prefix}, nil
}

// plain makes a missing object's error what it is of files.
func plain(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

func (b *bucket) read(ctx context.Context, key string, off, n int64) ([]byte, error) {
	r, err := b.b.NewRangeReader(ctx, b.prefix+key, off, n, nil)
	if err != nil {
		return nil, plain(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil && n >= 0 && int64(len(data)) != n {
		err = io.ErrUnexpectedEOF
	}
	return data, err
}

func (b *bucket) open(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := b.b.NewReader(ctx, b.prefix+key, nil)
	if err != nil {
		return nil, plain(err)
	}
	return r, nil
}

func (b *bucket) exists(ctx context.Context, key string) (bool, error) {
	return b.b.Exists(ctx, b.prefix+key)
}

func (b *bucket) list(ctx context.Context, under string) iter.Seq2[object, error] {
	return func(yield func(object, error) bool) {
		objects := b.b.List(&blob.ListOptions{Prefix: b.prefix + under})
		for {
			o, err := objects.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(object{}, err)
				return
			}
			if !o.IsDir && !yield(object{o.Key[len(b.prefix):], o.Size}, nil) {
				return
			}
		}
	}
}

func (b *bucket) remove(ctx context.Context, key string) error {
	return plain(b.b.Delete(ctx, b.prefix+key))
}

func (b *bucket) stage() (*os.File, error) { return os.CreateTemp("", "nlnctl-batch-*") }

func (b *bucket) commit(ctx context.Context, f *os.File, key string, anew bool) (bool, error) {
	var errs []error
	for try := range uploads {
		if try > 0 {
			select {
			case <-time.After(time.Duration(try) * time.Second):
			case <-ctx.Done():
				return false, errors.Join(errs...)
			}
		}
		err := b.upload(ctx, f, key, anew)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, err
		}
		if anew {
			// Stores have several errors for an object that is there, or is just
			// being written by another.
			if there, err := b.exists(ctx, key); err == nil && there {
				return false, nil
			}
		}
		errs = append(errs, err)
		if code := gcerrors.Code(err); code == gcerrors.PermissionDenied || code == gcerrors.NotFound {
			break // no bucket, or no right to write to it
		}
	}
	return false, errs[len(errs)-1]
}

func (b *bucket) upload(ctx context.Context, f *os.File, key string, anew bool) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	// To end ctx is how an upload is given up.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.b.NewWriter(ctx, b.prefix+key, &blob.WriterOptions{IfNotExist: anew, ContentType: "application/octet-stream"})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, f); err != nil {
		cancel()
		w.Close()
		return err
	}
	return w.Close()
}

func (b *bucket) sweep() {}

func (b *bucket) close() error { return b.b.Close() }
