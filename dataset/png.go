package dataset

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// A pngReader decodes the plainest PNG files, 8-bit grey or RGB, neither
// interlaced nor transparent, with memory that it keeps from one file to the
// next: for a small picture image/png spends most of its time on making a
// decompressor. The zero value is ready.
//
// It says nothing about a file that it does not take: image/png decides what is
// wrong with it, if anything. What it takes, image/png takes as well, and gives
// the same pixels for (PNG specification, third edition, sections 5, 9 and 10).
type pngReader struct {
	stream bytes.Reader  // of the compressed data
	joined []byte        // of several IDAT chunks
	zlib   io.ReadCloser // a zlib.Resetter; nil before the first file
	rows   []byte        // filtered rows, each behind the number of its filter
}

const (
	pngHeaderLen = 8 + 8 + 13 + 4 // magic, and IHDR with its length, name and checksum
	pngColour    = 2              // bit of the colour type for more than grey
)

// decode stores the pixels of data as ReadImage does in dst, which has the
// length of want, and reports whether it has. Otherwise dst is undefined.
func (p *pngReader) decode(dst []uint8, data []byte, want Shape) bool {
	channels, ok := plainPNG(data, want)
	if !ok {
		return false
	}
	packed, ok := p.pixelData(data[pngHeaderLen:])
	if !ok {
		return false
	}
	stride := 1 + channels*want.W
	if !p.inflate(packed, want.H*stride) || !unfilter(p.rows, stride, channels) {
		return false
	}
	if channels == 1 {
		spreadGrey(dst, p.rows, want)
		return true
	}
	if want.C == 1 {
		return greyOfRGB(dst, p.rows, want)
	}
	planesOfRGB(dst, p.rows, want)
	return true
}

// plainPNG returns the number of channels of a file that begins as one of the
// plainest kind and of the rows and columns of want.
func plainPNG(data []byte, want Shape) (channels int, ok bool) {
	if len(data) < pngHeaderLen || !bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR")) {
		return 0, false
	}
	h := data[16:29]
	w, rows := binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
	if want.H < 1 || want.W < 1 || want.C != 1 && want.C != 3 {
		return 0, false
	}
	if int64(w) != int64(want.W) || int64(rows) != int64(want.H) {
		return 0, false
	}
	depth, colour, compression, filter, interlace := h[8], h[9], h[10], h[11], h[12]
	if depth != 8 || colour&^pngColour != 0 || compression != 0 || filter != 0 || interlace != 0 {
		return 0, false
	}
	return 1 + int(colour), crc32.ChecksumIEEE(data[12:29]) == binary.BigEndian.Uint32(data[29:])
}

// pixelData returns the contents of the IDAT chunks of data, which begins behind
// IHDR, if that ends in IEND and holds nothing else but chunks that may be
// ignored. It shares memory with data or with p.
func (p *pngReader) pixelData(data []byte) (packed []byte, ok bool) {
	parts, last := 0, ""
	for len(data) >= 12 {
		n := int64(binary.BigEndian.Uint32(data))
		if n > int64(len(data)-12) {
			return nil, false
		}
		body, name := data[8:8+n], string(data[4:8])
		if crc32.ChecksumIEEE(data[4:8+n]) != binary.BigEndian.Uint32(data[8+n:]) {
			return nil, false
		}
		data = data[12+n:]
		switch {
		case name == "IEND":
			return packed, n == 0 && parts > 0
		case name == "IDAT" && parts == 0:
			packed, parts = body, 1
		case name == "IDAT" && last == name:
			if parts == 1 {
				p.joined = append(p.joined[:0], packed...)
			}
			p.joined = append(p.joined, body...)
			packed, parts = p.joined, parts+1
		case name[0]&0x20 == 0 || name == "tRNS" || name == "eXIf": // needed for decoding, or out of place
			return nil, false
		}
		last = name
	}
	return nil, false
}

// inflate decompresses packed into rows, and reports whether it holds n bytes,
// its checksum and nothing more.
func (p *pngReader) inflate(packed []byte, n int) bool {
	p.stream.Reset(packed)
	if p.zlib == nil {
		z, err := zlib.NewReader(&p.stream)
		if err != nil {
			return false
		}
		p.zlib = z
	} else if p.zlib.(zlib.Resetter).Reset(&p.stream, nil) != nil {
		return false
	}
	if cap(p.rows) < n {
		p.rows = make([]byte, n)
	}
	p.rows = p.rows[:n]
	if _, err := io.ReadFull(p.zlib, p.rows); err != nil {
		return false
	}
	var more [1]byte
	k, err := io.ReadFull(p.zlib, more[:])
	return k == 0 && err == io.EOF && p.stream.Len() == 0
}

// unfilter undoes the filters of rows, of stride bytes each with the number of
// the filter in front and bpp bytes a pixel, and reports whether it knows all of
// these numbers.
func unfilter(rows []byte, stride, bpp int) bool {
	above := make([]byte, 0) // none: the first row has zeros above it
	for ; len(rows) > 0; rows = rows[stride:] {
		row := rows[1:stride]
		switch filter := rows[0]; {
		case filter == 0:
		case filter == 1:
			for i := bpp; i < len(row); i++ {
				row[i] += row[i-bpp]
			}
		case filter == 2:
			for i, b := range above {
				row[i] += b
			}
		case filter == 3:
			unfilterAverage(row, above, bpp)
		case filter == 4:
			unfilterPaeth(row, above, bpp)
		default:
			return false
		}
		above = row
	}
	return true
}

func unfilterAverage(row, above []byte, bpp int) {
	if len(above) == 0 {
		for i := bpp; i < len(row); i++ {
			row[i] += row[i-bpp] / 2
		}
		return
	}
	for i := range bpp {
		row[i] += above[i] / 2
	}
	for i := bpp; i < len(row); i++ {
		row[i] += uint8((int(row[i-bpp]) + int(above[i])) / 2)
	}
}

func unfilterPaeth(row, above []byte, bpp int) {
	if len(above) == 0 { // the predictor is the byte on the left
		for i := bpp; i < len(row); i++ {
			row[i] += row[i-bpp]
		}
		return
	}
	for i := range bpp { // the predictor is the byte above
		row[i] += above[i]
	}
	for i := bpp; i < len(row); i++ {
		row[i] += nearestToPlane(int(row[i-bpp]), int(above[i]), int(above[i-bpp]))
	}
}

// nearestToPlane is the Paeth predictor: the one of left, up and corner that is
// nearest to left + up - corner, the first of equals.
func nearestToPlane(left, up, corner int) uint8 {
	// The distances are those of left + up - corner, put together anew.
	dl, du := up-corner, left-corner
	dc := dl + du
	dl, du, dc = max(dl, -dl), max(du, -du), max(dc, -dc)
	switch {
	case dl <= du && dl <= dc:
		return uint8(left)
	case du <= dc:
		return uint8(up)
	}
	return uint8(corner)
}

// spreadGrey copies the pixels of grey rows to each plane of dst.
func spreadGrey(dst []uint8, rows []byte, want Shape) {
	n := want.H * want.W
	for y := range want.H {
		copy(dst[y*want.W:(y+1)*want.W], rows[y*(want.W+1)+1:])
	}
	for c := 1; c < want.C; c++ {
		copy(dst[c*n:(c+1)*n], dst[:n])
	}
}

// planesOfRGB splits the pixels of rows into planes.
func planesOfRGB(dst []uint8, rows []byte, want Shape) {
	n, i := want.H*want.W, 0
	red, green, blue := dst[:n], dst[n:2*n], dst[2*n:3*n]
	for ; len(rows) > 0; rows = rows[1+3*want.W:] {
		for row := rows[1 : 1+3*want.W]; len(row) >= 3; row = row[3:] {
			red[i], green[i], blue[i] = row[0], row[1], row[2]
			i++
		}
	}
}

// greyOfRGB stores the pixels of rows and reports whether all are grey.
func greyOfRGB(dst []uint8, rows []byte, want Shape) bool {
	i := 0
	for ; len(rows) > 0; rows = rows[1+3*want.W:] {
		for row := rows[1 : 1+3*want.W]; len(row) >= 3; row = row[3:] {
			if row[0] != row[1] || row[1] != row[2] {
				return false
			}
			dst[i] = row[0]
			i++
		}
	}
	return true
}
