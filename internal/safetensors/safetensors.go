// Package safetensors reads and writes tensors in the safetensors format
// (https://huggingface.co/docs/safetensors): a length, a JSON header and raw
// little-endian data. It holds no code, unlike Python's pickle, and PyTorch
// loads it with safetensors.torch.load_file.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"unsafe"
)

// A DType is the type of a tensor's elements, by its name in the format.
type DType string

const (
	U8  DType = "U8"
	I64 DType = "I64"
	F32 DType = "F32"
	F64 DType = "F64"
)

func (d DType) size() int {
	switch d {
	case U8:
		return 1
	case F32:
		return 4
	case I64, F64:
		return 8
	}
	return 0
}

// A Tensor is an array with a name.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte // row-major, little-endian
}

// A File is what one file holds.
type File struct {
	Tensors  []Tensor
	Metadata map[string]string
}

// ErrFormat is wrapped by the error of input that is not a sound file.
var ErrFormat = errors.New("not a sound safetensors file")

// maxHeader bounds the header of a file that is read, as the reference
// implementation does.
const maxHeader = 100 << 20

type entry struct {
	DType   DType  `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

// Get returns the tensor of a name and type.
func (f *File) Get(name string, d DType) (*Tensor, error) {
	for i := range f.Tensors {
		if t := &f.Tensors[i]; t.Name == name {
			if t.DType != d {
				return nil, fmt.Errorf("tensor %q has type %s, want %s", name, t.DType, d)
			}
			return t, nil
		}
	}
	return nil, fmt.Errorf("no tensor %q", name)
}

// Write writes the tensors in their order.
func (f *File) Write(w io.Writer) error {
	// The header is put together by hand, for its order.
	var header bytes.Buffer
	header.WriteByte('{')
	if len(f.Metadata) > 0 {
		text, err := json.Marshal(f.Metadata)
		if err != nil {
			return err
		}
		fmt.Fprintf(&header, `"__metadata__":%s,`, text)
	}
	offset := 0
	for i, t := range f.Tensors {
		if n, ok := t.DType.bytes(t.Shape); !ok || n != len(t.Data) {
			return fmt.Errorf("safetensors: tensor %q: %d bytes do not fit type %s and shape %v", t.Name, len(t.Data), t.DType, t.Shape)
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return err
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{} // a scalar; null is no shape
		}
		text, err := json.Marshal(entry{t.DType, shape, [2]int{offset, offset + len(t.Data)}})
		if err != nil {
			return err
		}
		if i > 0 {
			header.WriteByte(',')
		}
		fmt.Fprintf(&header, "%s:%s", name, text)
		offset += len(t.Data)
	}
	if len(f.Tensors) == 0 && header.Len() > 1 {
		header.Truncate(header.Len() - 1) // the comma after the metadata
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 { // so that the data is aligned when mapped
		header.WriteByte(' ')
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(header.Len())); err != nil {
		return err
	}
	if _, err := w.Write(header.Bytes()); err != nil {
		return err
	}
	for _, t := range f.Tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// Parse returns what the bytes of a file hold; tensors share memory with b.
// An error wraps ErrFormat.
func Parse(b []byte) (*File, error) {
	f, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return f, nil
}

func parse(b []byte) (*File, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("%d bytes", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n > maxHeader || n > uint64(len(b)-8) {
		return nil, fmt.Errorf("header of %d bytes in a file of %d", n, len(b))
	}
	data := b[8+n:]
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b[8:8+n], &raw); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	f := &File{}
	var entries []entry
	for name, text := range raw {
		if name == "__metadata__" {
			if err := json.Unmarshal(text, &f.Metadata); err != nil {
				return nil, fmt.Errorf("metadata: %w", err)
			}
			continue
		}
		var e entry
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		lo, hi := e.Offsets[0], e.Offsets[1]
		size, ok := e.DType.bytes(e.Shape)
		if !ok || lo < 0 || hi < lo || hi > len(data) || hi-lo != size {
			return nil, fmt.Errorf("tensor %q: type %s, shape %v, bytes %d to %d of %d", name, e.DType, e.Shape, lo, hi, len(data))
		}
		f.Tensors = append(f.Tensors, Tensor{name, e.DType, e.Shape, data[lo:hi:hi]})
		entries = append(entries, e)
	}
	order := make([]int, len(entries))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := entries[i].Offsets, entries[j].Offsets
		if a != b {
			return slices.Compare(a[:], b[:])
		}
		return bytes.Compare([]byte(f.Tensors[i].Name), []byte(f.Tensors[j].Name))
	})
	sorted, end := make([]Tensor, len(order)), 0
	for k, i := range order {
		if entries[i].Offsets[0] != end {
			return nil, fmt.Errorf("tensor %q begins at byte %d, want %d", f.Tensors[i].Name, entries[i].Offsets[0], end)
		}
		end = entries[i].Offsets[1]
		sorted[k] = f.Tensors[i]
	}
	if end != len(data) {
		return nil, fmt.Errorf("%d bytes of data, the header describes %d", len(data), end)
	}
	f.Tensors = sorted
	return f, nil
}

// bytes returns how many bytes a tensor of the shape has.
func (d DType) bytes(shape []int) (int, bool) {
	n := uint64(d.size())
	if n == 0 {
		return 0, false
	}
	for _, s := range shape {
		if s < 0 {
			return 0, false
		}
		hi, lo := bits.Mul64(n, uint64(s))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		n = lo
	}
	return int(n), true
}

// Bytes returns v's memory as little-endian bytes.
func Bytes[T float32 | float64 | int64](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}

// Floats32 returns the values of an F32 tensor, in memory of their own.
func (t *Tensor) Floats32() []float32 { return values[float32](t.Data) }

// View32 returns the values of an F32 tensor, sharing memory with the file's
// bytes where they lie as a float32 must, else as Floats32.
func (t *Tensor) View32() []float32 {
	p := unsafe.Pointer(unsafe.SliceData(t.Data))
	if len(t.Data) == 0 || uintptr(p)%unsafe.Alignof(float32(0)) != 0 {
		return t.Floats32()
	}
	return unsafe.Slice((*float32)(p), len(t.Data)/int(unsafe.Sizeof(float32(0))))
}

// Floats64 returns the values of an F64 tensor, in memory of their own.
func (t *Tensor) Floats64() []float64 { return values[float64](t.Data) }

// Ints returns the values of an I64 tensor, in memory of their own.
func (t *Tensor) Ints() []int64 { return values[int64](t.Data) }

func values[T float32 | float64 | int64](b []byte) []T {
	var zero T
	v := make([]T, len(b)/int(unsafe.Sizeof(zero)))
	copy(Bytes(v), b)
	return v
}

// The data is used as it lies in memory, which must be little-endian, as it is
// on every machine that libtorch runs on.
func init() {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		panic("safetensors: this machine is big-endian")
	}
}
