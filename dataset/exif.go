package dataset

import (
	"bytes"
	"encoding/binary"
)

// orientation returns how the EXIF data of a JPEG or PNG file wants it turned: 1,
// upright, to 8, the values of tag 274; 5 and more by a quarter (Exif 2.32, section
// 4.6.4). It is 1 where there is no such data or where it makes no sense.
func orientation(data []byte) int {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8")):
		return tiffOrientation(jpegExif(data[2:]))
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return tiffOrientation(pngExif(data[8:]))
	}
	return 1
}

// jpegExif returns the EXIF data among the segments before the picture, or nil.
func jpegExif(data []byte) []byte {
	const app1, startOfScan = 0xe1, 0xda
	for len(data) >= 4 && data[0] == 0xff && data[1] != startOfScan {
		if data[1] == 0xff { // a fill byte
			data = data[1:]
			continue
		}
		n := 2 + int(binary.BigEndian.Uint16(data[2:]))
		if n < 4 || n > len(data) {
			return nil
		}
		if body, ok := bytes.CutPrefix(data[4:n], []byte("Exif\x00\x00")); ok && data[1] == app1 {
			return body
		}
		data = data[n:]
	}
	return nil
}

// pngExif returns the EXIF data among the chunks, or nil.
func pngExif(data []byte) []byte {
	for len(data) >= 12 {
		n := int64(binary.BigEndian.Uint32(data))
		if n > int64(len(data)-12) {
			return nil
		}
		if string(data[4:8]) == "eXIf" {
			return data[8 : 8+n]
		}
		data = data[12+n:]
	}
	return nil
}

// tiffOrientation returns tag 274 of the first directory of TIFF data.
func tiffOrientation(data []byte) int {
	const orientationTag, entryLen = 274, 12
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(data, []byte("MM\x00*")):
		order = binary.BigEndian
	case !bytes.HasPrefix(data, []byte("II*\x00")):
		return 1
	}
	if len(data) < 8 {
		return 1
	}
	at := int64(order.Uint32(data[4:]))
	if at+2 > int64(len(data)) {
		return 1
	}
	entries := data[at+2:]
	for range order.Uint16(data[at:]) {
		if len(entries) < entryLen {
			return 1
		}
		if order.Uint16(entries) == orientationTag {
			if o := int(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			return 1
		}
		entries = entries[entryLen:]
	}
	return 1
}
