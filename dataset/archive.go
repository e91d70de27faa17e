package dataset

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// isTar reports whether a plain path is an archive by its name.
func isTar(location string) bool {
	name := strings.ToLower(location)
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		if strings.HasSuffix(name, end) {
			return isFile(location)
		}
	}
	return false
}

// An archive is a tar file that is gone through once, from its beginning to its end.
type archive struct {
	path    string
	reading Reading
	file    *os.File
	disk    watched   // what comes from the file
	plain   tail      // the same, decompressed
	end     io.Closer // of the decompressor
	tar     *tar.Reader
	others  int    // members that are no images by their names
	other   string // the first of them
}

// openArchive opens a tar file, plain, gzip or zstd by its first bytes.
func openArchive(location string, r Reading) (*archive, error) {
	f, err := os.Open(location)
	if err != nil {
		return nil, fmt.Errorf("dataset: open tar: %w", err)
	}
	a := &archive{path: location, reading: r, file: f, disk: watched{r: f}}
	if err := a.decompress(); err != nil {
		a.close()
		return nil, err
	}
	a.tar = tar.NewReader(&a.plain)
	return a, nil
}

// zstdWindow is the largest window that zstd itself unpacks without being told to.
const zstdWindow = 128 << 20

// decompress sets plain.
func (a *archive) decompress() error {
	br := bufio.NewReaderSize(&a.disk, 1<<18)
	head, err := br.Peek(6)
	switch {
	case a.disk.err != nil:
		return a.fault("read", err)
	case len(head) == 0:
		return formatErrorf(a.path, "tar: the file is empty")
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return a.fault("gunzip", err)
		}
		a.plain.r, a.end = zr, zr
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return a.fault("unzstd", err)
		}
		a.plain.r, a.end = zr, zr.IOReadCloser()
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte("\xfd7zXZ")):
		return &UnsupportedError{Path: a.path, What: "a tar is read plain, or compressed by gzip or zstd"}
	default:
		a.plain.r = br
	}
	return nil
}

func (a *archive) close() error {
	if a.end != nil {
		a.end.Close()
	}
	return a.file.Close()
}

// fault sorts an error met while reading: it is the disk's if the file could not be
// read, and else the file is damaged.
func (a *archive) fault(step string, err error) error {
	switch {
	case a.disk.err != nil:
		return fmt.Errorf("dataset: %s: %s: %w", a.path, step, a.disk.err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return formatErrorf(a.path, "%s: the archive ends too early", step)
	}
	return formatErrorf(a.path, "%s: %w", step, err)
}

// A member is an image file of an archive. Its bytes are next in the archive's tar.
type member struct {
	name string // slash-separated, without what tar puts in front
	size int64
	err  error // why it is not to be read, nil in most cases
}

// next returns the next image file that the globs choose, or io.EOF after the last
// one of a sound archive.
func (a *archive) next() (m member, err error) {
	for {
		head, err := a.tar.Next()
		if err == io.EOF {
			return m, a.finish()
		}
		if err != nil {
			return m, a.fault("read tar", err)
		}
		m = member{name: memberName(head.Name), size: head.Size}
		switch head.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse:
		case tar.TypeLink, tar.TypeSymlink:
			m.err = &UnsupportedError{Path: a.memberPath(m), What: "a link to " + head.Linkname + ", which is not followed in an archive"}
		default:
			continue
		}
		switch most := a.reading.Limits.filled().Bytes; {
		case isHidden(m.name):
			continue
		case !IsImageName(m.name):
			a.others++
			a.other = cmp.Or(a.other, m.name)
			continue
		case !a.reading.takes(m.name):
			continue
		case m.size > most && m.err == nil:
			m.err = tooManyBytes(a.memberPath(m), most)
		}
		return m, nil
	}
}

// finish returns io.EOF if the archive has its end mark and nothing behind it is
// damaged: a file that was cut off between two members looks sound but for that.
func (a *archive) finish() error {
	if a.plain.zeros < tarBlock {
		return a.fault("read tar", io.ErrUnexpectedEOF)
	}
	// The tar ends before what compressed it does: read on, for its checksum.
	const most = 64 << 20 // tar pads to 10 KB
	if n, err := io.Copy(io.Discard, io.LimitReader(&a.plain, most)); err != nil {
		return a.fault("read to the end", err)
	} else if n == most {
		return formatErrorf(a.path, "read to the end: over 64 MB behind the last member")
	}
	return io.EOF
}

// tarBlock is the unit of a tar; two of zeros are the mark of its end, and one is
// enough for tar itself.
const tarBlock = 512

// memberPath returns how errors and rows call a member.
func (a *archive) memberPath(m member) string { return a.path + "!" + m.name }

// memberName cleans the name of a member. Nothing is ever written by that name.
func memberName(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// isHidden reports whether an element of a slash-separated path begins with a dot.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") || strings.Contains(name, "/.") }

// A watched reader remembers its error, other than the end.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// A tail remembers how many zeros were read last.
type tail struct {
	r     io.Reader
	zeros int64
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	k := n
	for k > 0 && p[k-1] == 0 {
		k--
	}
	if k > 0 {
		t.zeros = 0
	}
	t.zeros += int64(n - k)
	return n, err
}

// streamTar goes through the image files of a tar.
func streamTar(_ context.Context, location string, r Reading) (*Stream, error) {
	a, err := openArchive(location, r)
	if err != nil {
		return nil, err
	}
	files := func(ctx context.Context) iter.Seq2[*File, error] {
		return func(yield func(*File, error) bool) {
			// What a pipe waits for may never come.
			defer context.AfterFunc(ctx, func() { a.file.Close() })()
			for {
				m, err := a.next()
				if err == io.EOF {
					return
				}
				f := &File{Name: a.memberPath(m), err: m.err}
				if err == nil && m.err == nil {
					if f.data, err = readExactly(a.tar, newBuffer(), m.size); err != nil {
						err = a.fault("read tar", err)
					}
				}
				if ctx.Err() != nil {
					err = ctx.Err()
				}
				if err != nil {
					yield(nil, err)
					return
				}
				if !yield(f, nil) {
					return
				}
			}
		}
	}
	return &Stream{files: files, close: a.close}, nil
}
