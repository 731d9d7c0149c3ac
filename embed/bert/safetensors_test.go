package bert

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// file is a safetensors file of a header and data.
func file(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func TestReadTensors(t *testing.T) {
	b := file(`{"__metadata__":{"a":"b"},"f":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"h":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},"s":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}`,
		0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0x3c, 1, 0, 0x80, 0x3f, 0x20, 0xc0)
	w, err := openWeights(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]float32{"f": {1, -2.5}, "h": {1, 0x1p-24}, "b": {1, -2.5}} {
		shape := []int{2}
		if name == "f" {
			shape = []int{1, 2}
		}
		got, err := w.read(name, shape...)
		if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%s is %v (%v), want %v", name, got, err, want)
		}
	}
	for name, says := range map[string]string{"none": "no such tensor", "i": "I64", "f": "shape", "s": "bytes"} {
		if _, err := w.read(name, 4); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, which should say %q", name, err, says)
		}
	}
}

// FuzzWeights: whatever a file says, it takes no more memory than its size allows, and
// what can be read has the shape that was asked for.
func FuzzWeights(f *testing.F) {
	f.Add(file(`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, make([]byte, 8)...))
	f.Add(file(`{"x":{"dtype":"F16","shape":[2],"data_offsets":[0,9223372036854775807]}}`, make([]byte, 8)...))
	f.Add(file(`{"x":{"dtype":"F32","shape":[-2],"data_offsets":[8,0]}}`, make([]byte, 8)...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'})
	f.Add(newTinyOf(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := openWeights(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for name, tensor := range w.tensors {
			if len(tensor.Shape) > 4 {
				continue
			}
			shape, count := []int{}, 1
			for _, n := range tensor.Shape {
				if n < 0 || n > 1<<12 {
					return
				}
				shape = append(shape, int(n))
				count *= int(n)
			}
			values, err := w.read(name, shape...)
			if err == nil && (len(values) != count || 2*count > len(b)) {
				t.Errorf("%q: %d values of a shape of %v in %d bytes", name, len(values), shape, len(b))
			}
		}
	})
}

func newTinyOf(testing.TB) []byte {
	m := newTiny(9)
	for name := range m.tensors {
		if !strings.Contains(name, "LayerNorm") {
			delete(m.tensors, name)
		}
	}
	return m.safetensors("F32", "bert.")
}
