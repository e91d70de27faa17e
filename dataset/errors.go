package dataset

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// A FormatError reports a file that is damaged or is not what its name or kind
// promises: cut short, altered, with bytes left over, or of another format.
// Failures to open or read a file, such as fs.ErrNotExist, are not FormatErrors.
type FormatError struct {
	Path string // the file, as the caller named it
	Err  error  // what is wrong with it
}

func (e *FormatError) Error() string { return "dataset: " + e.Path + ": " + e.Err.Error() }

func (e *FormatError) Unwrap() error { return e.Err }

// An UnsupportedError reports a file that may well be sound but is of a kind
// that this package does not read, such as a GIF.
type UnsupportedError struct {
	Path string
	What string // what the file is and what would be read instead
}

func (e *UnsupportedError) Error() string {
	return "dataset: " + e.Path + ": unsupported: " + e.What
}

// A TooLargeError reports a file that was refused before decoding, because
// what it claims to hold passes a limit of this package.
type TooLargeError struct {
	Path string
	Have string // what the file claims, with its unit: "60000x60000 pixels"
	Max  string // the limit in the same unit
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("dataset: %s: too large: %s, at most %s are read", e.Path, e.Have, e.Max)
}

// A SizeError reports a sound image of another size than the one wanted. It is
// returned before the pixels are decoded where only rows and columns differ.
type SizeError struct {
	Path string
	Have Shape
	Want Shape
	Why  string // where Want comes from, such as "the size of a/000.png"; may be empty
}

func (e *SizeError) Error() string {
	s := fmt.Sprintf("dataset: %s: image is %v, want %v", e.Path, e.Have, e.Want)
	if e.Why != "" {
		s += ", " + e.Why
	}
	if e.Have.H == e.Want.H && e.Have.W == e.Want.W && e.Have.C > e.Want.C {
		s += " (colour is not turned into grey)"
	}
	return s
}

// formatErrorf returns a FormatError for the file path.
func formatErrorf(path, format string, args ...any) error {
	return &FormatError{Path: path, Err: fmt.Errorf(format, args...)}
}

// readError sorts an error met while reading path: damage to a compressed
// stream or an early end is the file's fault, anything else is the disk's.
func readError(path, step string, err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return formatErrorf(path, "%s: the file ends too early", step)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return formatErrorf(path, "%s: %w", step, err)
	}
	return fmt.Errorf("dataset: %s: %s: %w", path, step, err)
}
