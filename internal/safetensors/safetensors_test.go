package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

func sample() *File {
	return &File{
		Tensors: []Tensor{
			{"b", F32, []int{2, 3}, Bytes([]float32{1, 2, 3, 4, 5, 6})},
			{"a", U8, []int{3}, []byte{7, 8, 9}},
			{"scalar", I64, []int{}, Bytes([]int64{-4})},
			{"empty", F64, []int{0, 5}, []byte{}},
		},
		Metadata: map[string]string{"k": "v"},
	}
}

func encode(t testing.TB, f *File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	b := encode(t, sample())
	if n := binary.LittleEndian.Uint64(b); n%8 != 0 {
		t.Errorf("header of %d bytes leaves the data unaligned", n)
	}
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f, sample()) {
		t.Errorf("read %+v, wrote %+v", f, sample())
	}
	x, err := f.Get("b", F32)
	if err != nil || x.Floats32()[5] != 6 {
		t.Errorf("Get = %v, %v", x, err)
	}
	if _, err := f.Get("b", U8); err == nil {
		t.Error("Get of another type: no error")
	}
	if _, err := f.Get("none", U8); err == nil {
		t.Error("Get of no tensor: no error")
	}
	for _, f := range []*File{{}, {Metadata: map[string]string{"a": "b"}}} {
		if g, err := Parse(encode(t, f)); err != nil || len(g.Tensors) != 0 || len(g.Metadata) != len(f.Metadata) {
			t.Errorf("empty file: %+v, %v", g, err)
		}
	}
}

func TestWriteRefusesWrongSizes(t *testing.T) {
	for _, x := range []Tensor{
		{"x", F32, []int{2}, make([]byte, 7)},
		{"x", "F13", []int{2}, make([]byte, 8)},
		{"x", F32, []int{-2, -1}, make([]byte, 8)},
	} {
		if err := (&File{Tensors: []Tensor{x}}).Write(&bytes.Buffer{}); err == nil {
			t.Errorf("%+v: no error", x)
		}
	}
}

// with returns a file with the given header and data.
func with(header, data string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func TestParseRefusesDamage(t *testing.T) {
	whole := encode(t, sample())
	for n := range whole {
		if _, err := Parse(whole[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("first %d bytes of %d: %v", n, len(whole), err)
		}
	}
	for name, b := range map[string][]byte{
		"trailing byte": append(bytes.Clone(whole), 0),
		"huge header":   binary.LittleEndian.AppendUint64(nil, 1<<63),
		"no JSON":       with("{", ""),
		"not an object": with("[]", ""),
		"gap":           with(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "xy"),
		"overlap":       with(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, "xyz"),
		"overflow":      with(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, ""),
		"negative":      with(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, ""),
		"unknown type":  with(`{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}`, "12345678"),
	} {
		if _, err := Parse(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}

// A view shares memory where it can and has the same values where it cannot.
func TestView32(t *testing.T) {
	values := []float32{1, -2.5, 3e-9}
	aligned := Bytes(append([]float32{}, values...))
	shifted := append(make([]byte, 0, 16), 0)
	shifted = append(shifted, aligned...)[1:]
	for _, data := range [][]byte{aligned, shifted} {
		tensor := &Tensor{Data: data}
		if v := tensor.View32(); !reflect.DeepEqual(v, values) {
			t.Errorf("view %v, want %v", v, values)
		}
	}
	v := (&Tensor{Data: aligned}).View32()
	copy(aligned, Bytes([]float32{7}))
	if v[0] != 7 {
		t.Error("an aligned view has memory of its own")
	}
	if v := (&Tensor{}).View32(); len(v) != 0 {
		t.Errorf("view of nothing: %v", v)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, sample()))
	f.Add(with(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Parse(b)
		if err != nil {
			return
		}
		y, err := Parse(encode(t, x))
		if err != nil || len(y.Tensors) != len(x.Tensors) {
			t.Fatalf("what was written is not read: %v", err)
		}
	})
}
