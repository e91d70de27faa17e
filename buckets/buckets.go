// Package buckets opens object stores for package dataset: S3 and what speaks its
// protocol (s3://), Google Cloud Storage (gs://), Azure Blob Storage (azblob://),
// and folders as if they were one (file://), by the drivers of gocloud.dev/blob.
//
// [Open] is meant for [dataset.Reading].OpenStore, which writes nothing to a store;
// [OpenBucket] is for what does.
//
// The build tags nos3, nogs and noazblob leave a driver out.
package buckets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"path"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"
)

// A bucket is what a URL means: the objects whose keys begin with prefix, or the
// object key alone.
type bucket struct {
	*blob.Bucket
	scheme, name string
	prefix       string // empty or with a slash at its end
	key          string // empty where all objects are meant
}

// openers are for schemes whose drivers need more than gocloud.dev's own.
var openers = map[string]func(ctx context.Context, u *url.URL) (*blob.Bucket, error){}

// Open opens the bucket of a URL such as "s3://BUCKET/PREFIX?region=eu-west-1". The
// path is a folder, the part of keys up to a slash, or one image by its name. The
// query is what gocloud.dev takes: region, endpoint and use_path_style for S3,
// domain and protocol for Azure, and anonymous=true for what is public. Credentials
// are found where each provider's own tools find them. No request is made yet, but
// what a provider's library makes to find credentials.
func Open(ctx context.Context, spec string) (dataset.Store, error) {
	b, err := open(ctx, spec, true)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// OpenBucket opens the bucket of a URL for writing, as [Open] does for reading.
// prefix is what keys begin with: empty, or the path with a slash at its end.
func OpenBucket(ctx context.Context, spec string) (b *blob.Bucket, prefix string, err error) {
	opened, err := open(ctx, spec, false)
	if err != nil {
		return nil, "", err
	}
	return opened.Bucket, opened.prefix, nil
}

// open opens a bucket; one says whether a path may name one image.
func open(ctx context.Context, spec string, one bool) (*bucket, error) {
	u, err := url.Parse(spec)
	if err != nil {
		return nil, err
	}
	b := &bucket{scheme: u.Scheme, name: u.Host}
	if u.Scheme == "file" {
		if b.name = u.Path; one && dataset.IsImageName(u.Path) {
			u.Path, b.key = path.Split(u.Path)
		}
	} else {
		if u.Host == "" {
			return nil, fmt.Errorf("no bucket: two slashes and its name follow the colon, as in %s://BUCKET/PREFIX", u.Scheme)
		}
		b.prefix = strings.TrimPrefix(u.Path, "/")
		if one && dataset.IsImageName(b.prefix) {
			b.prefix, b.key = path.Split(b.prefix)
		} else if b.prefix != "" && !strings.HasSuffix(b.prefix, "/") {
			b.prefix += "/"
		}
		u.Path = ""
	}
	if open := openers[u.Scheme]; open != nil {
		b.Bucket, err = open(ctx, u)
	} else {
		b.Bucket, err = blob.OpenBucket(ctx, u.String())
	}
	if err != nil {
		return nil, b.explain(err)
	}
	return b, nil
}

// List yields the objects below the URL by their names relative to it.
func (b *bucket) List(ctx context.Context) iter.Seq2[dataset.Object, error] {
	return func(yield func(dataset.Object, error) bool) {
		objects := b.Bucket.List(&blob.ListOptions{Prefix: b.prefix + b.key})
		for {
			o, err := objects.Next(ctx)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(dataset.Object{}, b.explain(err))
				return
			}
			name := strings.TrimPrefix(o.Key, b.prefix)
			if o.IsDir || name == "" || b.key != "" && name != b.key {
				continue
			}
			if !yield(dataset.Object{Name: name, Size: o.Size}, nil) {
				return
			}
		}
	}
}

// ranged is how many bytes are asked for as a range, of an object that may have
// many more; what is to be read whole is asked for whole.
const ranged = 1 << 20

// Read appends the first bytes of an object to buf.
func (b *bucket) Read(ctx context.Context, name string, buf []byte, most int64) ([]byte, error) {
	var r *blob.Reader
	var err error
	if most <= ranged {
		r, err = b.NewRangeReader(ctx, b.prefix+name, 0, most, nil)
	}
	if r == nil { // an empty object has no range
		r, err = b.NewReader(ctx, b.prefix+name, nil)
	}
	if err != nil {
		return buf, b.explain(err)
	}
	defer r.Close()
	return appendAll(buf, r, min(most, max(0, r.Size())), most)
}

// appendAll appends what r holds, at most so many bytes, to buf. expect is how many
// there may be.
func appendAll(buf []byte, r io.Reader, expect, most int64) ([]byte, error) {
	const step = 1 << 20
	end := int64(len(buf)) + most
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, min(max(expect-int64(len(buf)), 0)+512, step))...)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):min(int64(cap(buf)), end)])
		buf = buf[:len(buf)+n]
		switch {
		case err == io.EOF, int64(len(buf)) == end:
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
}

// An Error says what is wrong with a bucket, and what may mend it.
type Error struct {
	What string // such as "there is no bucket x"
	Fix  string // may be empty
	Err  error  // what the provider's library said
}

func (e *Error) Error() string { return e.What + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Hint returns what may mend the error, or "".
func (e *Error) Hint() string { return e.Fix }

// credentials says where each provider's library looks for them.
var credentials = map[string]string{
	"s3":     "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; add ?anonymous=true for a public bucket",
	"gs":     "set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login; add ?anonymous=true for a public bucket",
	"azblob": "set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or run az login",
}

// explain says in plain words what an error of a provider's library means.
func (b *bucket) explain(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if explained := (*Error)(nil); errors.As(err, &explained) {
		return err
	}
	text := err.Error()
	says := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch code := gcerrors.Code(err); {
	case says("NoSuchBucket", "ContainerNotFound", "bucket does not exist"), b.scheme == "file" && errors.Is(err, fs.ErrNotExist):
		return &Error{"there is no bucket " + b.name, "check its name, and the region or endpoint", err}
	case says("no driver registered"):
		return &Error{"this program was built without the driver for " + b.scheme + "://", "build it without the tag no" + b.scheme, err}
	case says("Missing Region"):
		return &Error{"the region is not known", "set AWS_REGION or add ?region=REGION", err}
	case code == gcerrors.PermissionDenied, says("AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
		return &Error{"access is denied", "check whose credentials are used; " + credentials[b.scheme], err}
	case says("get credentials", "credentials"):
		return &Error{"no credentials", credentials[b.scheme], err}
	}
	return err
}
