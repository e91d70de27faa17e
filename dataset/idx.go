package dataset

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// MaxSetBytes is the largest set, in bytes of pixels, that a reader of this
// package builds in memory. A file that claims more is refused unread.
const MaxSetBytes = 8 << 30

// Magic numbers of IDX files of unsigned bytes: two zero bytes, the type 0x08,
// and the number of dimensions (the comment block of the MNIST distribution).
const (
	idxImages = 0x00000803
	idxLabels = 0x00000801
)

// ReadIDX reads an IDX file of images, plain or gzip, which is told apart by
// content: magic 0x803, three big-endian uint32 N, H, W, then N*H*W bytes.
// The pixels are row-major N, H, W; the shape has one channel.
//
// The name is used in errors alone. Memory grows with the bytes that arrive,
// not with what the header claims. A file that is cut short, or that has bytes
// after the last image, is a [FormatError]; one beyond [MaxSetBytes] is a
// [TooLargeError]. A file of no images is read as such.
func ReadIDX(r io.Reader, name string) ([]uint8, Shape, error) {
	r, dims, err := readIDXHeader(r, name, idxImages, 3)
	if err != nil {
		return nil, Shape{}, err
	}
	n, h, w := dims[0], dims[1], dims[2]
	size := Shape{C: 1, H: int(h), W: int(w)}
	if h == 0 || w == 0 {
		return nil, Shape{}, formatErrorf(name, "images of %d rows and %d columns", h, w)
	}
	// h*w fits in 64 bits; times n it may not.
	over, total := bits.Mul64(uint64(h)*uint64(w), uint64(n))
	if over != 0 || total > MaxSetBytes {
		return nil, Shape{}, &TooLargeError{
			Path: name,
			Have: fmt.Sprintf("%d images of %dx%d pixels", n, h, w),
			Max:  fmt.Sprintf("%d bytes", int64(MaxSetBytes)),
		}
	}
	what := fmt.Sprintf("%d images of %dx%d bytes", n, h, w)
	pix, err := readBody(r, name, what, int64(total))
	if err != nil {
		return nil, Shape{}, err
	}
	return pix, size, nil
}

// ReadIDXLabels reads an IDX file of labels, plain or gzip: magic 0x801, a
// big-endian uint32 N, then N bytes. Errors are as for [ReadIDX].
func ReadIDXLabels(r io.Reader, name string) ([]int, error) {
	r, dims, err := readIDXHeader(r, name, idxLabels, 1)
	if err != nil {
		return nil, err
	}
	raw, err := readBody(r, name, fmt.Sprintf("%d labels", dims[0]), int64(dims[0]))
	if err != nil {
		return nil, err
	}
	labels := make([]int, len(raw))
	for i, v := range raw {
		labels[i] = int(v)
	}
	return labels, nil
}

// readIDXHeader undoes gzip, checks the magic number and returns the n sizes.
func readIDXHeader(r io.Reader, name string, magic uint32, n int) (io.Reader, []uint32, error) {
	r, err := maybeGunzip(r, name)
	if err != nil {
		return nil, nil, err
	}
	head := make([]byte, 4+4*n)
	m, err := io.ReadFull(r, head)
	short := err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !short {
		return nil, nil, readError(name, "read idx header", err)
	}
	if got := binary.BigEndian.Uint32(head); m >= 4 && got != magic {
		return nil, nil, formatErrorf(name, "idx: magic number is %#08x, want %#08x (%s)", got, magic, idxKind(magic))
	}
	if short {
		return nil, nil, formatErrorf(name, "idx: header has %d of %d bytes", m, len(head))
	}
	dims := make([]uint32, n)
	for i := range dims {
		dims[i] = binary.BigEndian.Uint32(head[4+4*i:])
	}
	return r, dims, nil
}

func idxKind(magic uint32) string {
	if magic == idxImages {
		return "images of unsigned bytes"
	}
	return "labels of unsigned bytes"
}

// maybeGunzip returns the content of r, decompressed where r begins as gzip
// does. Neither IDX nor tar files can begin with those two bytes.
func maybeGunzip(r io.Reader, name string) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	head, err := br.Peek(2)
	if err != nil && err != io.EOF {
		return nil, readError(name, "read", err)
	}
	if len(head) < 2 || head[0] != 0x1f || head[1] != 0x8b {
		return br, nil
	}
	zr, err := gzip.NewReader(br)
	if err != nil {
		return nil, readError(name, "gunzip", err)
	}
	return zr, nil
}

// readBody reads exactly want bytes, after which the file must end. The buffer
// doubles as bytes arrive, so that a false claim costs twice what is there.
func readBody(r io.Reader, name, what string, want int64) ([]byte, error) {
	const first = 1 << 20
	buf := make([]byte, 0, min(want, first))
	for int64(len(buf)) < want {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(want, 2*int64(cap(buf))))
			copy(grown, buf)
			buf = grown
		}
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, formatErrorf(name, "cut short: have %d bytes after the header, want %d (%s)", len(buf), want, what)
		}
		if err != nil {
			return nil, readError(name, "read", err)
		}
	}
	// Reading on to the end also makes gzip check its checksum.
	const most = 1 << 30
	extra, err := io.Copy(io.Discard, io.LimitReader(r, most))
	if err != nil {
		return nil, readError(name, "read", err)
	}
	if extra > 0 {
		atLeast := ""
		if extra == most {
			atLeast = "at least "
		}
		return nil, formatErrorf(name, "have %s%d bytes after the header, want %d (%s)", atLeast, want+extra, want, what)
	}
	return buf, nil
}

// WriteIDX writes images of one channel as an uncompressed IDX file. It returns
// an error if size has several channels or pix is no whole number of images.
func WriteIDX(w io.Writer, pix []uint8, size Shape) error {
	if size.C != 1 || size.H < 1 || size.W < 1 || len(pix)%size.Len() != 0 {
		return fmt.Errorf("dataset: write idx: have %d bytes of shape %v, want whole images of one channel", len(pix), size)
	}
	head := binary.BigEndian.AppendUint32(nil, idxImages)
	for _, v := range []int{len(pix) / size.Len(), size.H, size.W} {
		head = binary.BigEndian.AppendUint32(head, uint32(v))
	}
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("dataset: write idx: %w", err)
	}
	if _, err := w.Write(pix); err != nil {
		return fmt.Errorf("dataset: write idx: %w", err)
	}
	return nil
}

// WriteIDXLabels writes labels as an uncompressed IDX file. It returns an
// error if a label does not fit in a byte.
func WriteIDXLabels(w io.Writer, labels []int) error {
	buf := binary.BigEndian.AppendUint32(nil, idxLabels)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(labels)))
	for i, v := range labels {
		if v < 0 || v > 255 {
			return fmt.Errorf("dataset: write idx: label %d of image %d does not fit in a byte", v, i)
		}
		buf = append(buf, byte(v))
	}
	if _, err := w.Write(buf); err != nil {
		return fmt.Errorf("dataset: write idx: %w", err)
	}
	return nil
}
