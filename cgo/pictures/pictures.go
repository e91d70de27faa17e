// Package pictures decodes image files of any size with libvips: JPEG, PNG, BMP,
// TIFF and WebP, of 8 and 16 bits, grey, colour, CMYK or with a palette or alpha.
//
// The package needs the native core at run time, and libvips beside it, which is
// loaded when the first picture asks for it.
package pictures

/*
#cgo CFLAGS: -I${SRCDIR}/../native -std=gnu11 -Wall -Wextra
#include <stdlib.h>
#include "nln_core.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/nlnctl/nlnctl/cgo/internal/core"
	"github.com/nlnctl/nlnctl/dataset"
)

// Vips decodes with libvips. Its errors wrap dataset.ErrNoDecoder where libvips
// cannot be loaded.
type Vips struct{}

var _ dataset.Decoder = Vips{}

// Version returns the version of libvips, such as "8.14.1".
func (Vips) Version() (string, error) {
	if err := core.Load(); err != nil {
		return "", err
	}
	var text *C.char
	if err := statusError(C.nln_picture_version(&text)); err != nil {
		return "", err
	}
	defer C.nln_message_free(text)
	return C.GoString(text), nil
}

// Size returns the rows and columns that the header of a file gives, upright, and
// one channel for grey, else three.
func (Vips) Size(data []byte) (dataset.Shape, error) {
	if err := core.Load(); err != nil {
		return dataset.Shape{}, err
	}
	var channels C.int32_t
	var rows, columns C.int64_t
	err := statusError(C.nln_picture_size(unsafe.Pointer(unsafe.SliceData(data)), C.int64_t(len(data)), &channels, &rows, &columns))
	return dataset.Shape{C: int(channels), H: int(rows), W: int(columns)}, err
}

// Decode stores the pixels of a file, upright and resized to want, in dst: planes of
// 8 bits, in sRGB or grey, alpha over black. Resizing is that of vips_thumbnail: a
// JPEG is decoded at a half, a quarter or an eighth where that is enough, and the
// rest is done by Lanczos kernels.
func (Vips) Decode(dst []uint8, data []byte, want dataset.Shape) error {
	if len(dst) != want.Len() || len(dst) == 0 || len(data) == 0 {
		return fmt.Errorf("pictures: %d bytes into %d values, want some into %d", len(data), len(dst), want.Len())
	}
	if err := core.Load(); err != nil {
		return err
	}
	st := C.nln_picture_decode(unsafe.Pointer(unsafe.SliceData(data)), C.int64_t(len(data)),
		C.int32_t(want.C), C.int64_t(want.H), C.int64_t(want.W), (*C.uint8_t)(unsafe.SliceData(dst)))
	if st.code == C.NLN_INVALID {
		C.nln_message_free(st.message)
		return dataset.ErrColour
	}
	return statusError(st)
}

func statusError(st C.nln_status) error {
	err := core.Error("pictures", int32(st.code), unsafe.Pointer(st.message))
	if errors.Is(err, core.ErrUnsupported) {
		return fmt.Errorf("%w: install libvips (Debian 12: libvips42, later: libvips42t64): %w", dataset.ErrNoDecoder, err)
	}
	return err
}
