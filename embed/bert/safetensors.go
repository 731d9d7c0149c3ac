package bert

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"engram/kernel"
)

// maxHeader bounds the header of a safetensors file. The largest models' are below 1 MiB.
const maxHeader = 16 << 20

// weights are the tensors of a safetensors file: 8 bytes that say the size of a header of
// JSON, the header, and the tensors' elements, little-endian.
type weights struct {
	data    io.ReaderAt
	start   int64 // of the elements
	size    int64 // of the elements
	tensors map[string]tensor
}

type tensor struct {
	DType   string   `json:"dtype"`
	Shape   []int64  `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// widths are the bytes of an element of the types that float32s are made of.
var widths = map[string]int64{"F32": 4, "F16": 2, "BF16": 2}

// openWeights reads the header of a file of size bytes.
func openWeights(data io.ReaderAt, size int64) (*weights, error) {
	var prefix [8]byte
	if _, err := data.ReadAt(prefix[:], 0); err != nil {
		return nil, fmt.Errorf("the header's size: %w", err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("a header of %d bytes in a file of %d: at most %d can be", n, size, min(maxHeader, size-8))
	}
	header := make([]byte, n)
	if _, err := data.ReadAt(header, 8); err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(header, &entries); err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	w := &weights{data: data, start: 8 + int64(n), size: size - 8 - int64(n), tensors: make(map[string]tensor, len(entries))}
	for name, raw := range entries {
		if name == "__metadata__" {
			continue
		}
		var t tensor
		if err := json.Unmarshal(raw, &t); err != nil {
			return nil, fmt.Errorf("tensor %.100q: %w", name, err)
		}
		if t.Offsets[0] < 0 || t.Offsets[1] < t.Offsets[0] || t.Offsets[1] > w.size {
			return nil, fmt.Errorf("tensor %.100q lies at %d to %d of %d bytes", name, t.Offsets[0], t.Offsets[1], w.size)
		}
		w.tensors[name] = t
	}
	return w, nil
}

var errNoTensor = errors.New("no such tensor")

// read gives a tensor's elements, which has the shape that is wanted.
func (w *weights) read(name string, shape ...int) ([]float32, error) {
	t, ok := w.tensors[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, errNoTensor)
	}
	width, ok := widths[t.DType]
	if !ok {
		return nil, fmt.Errorf("%s: its elements are %.20q; F32, F16 and BF16 can be read", name, t.DType)
	}
	count, same := int64(1), len(shape) == len(t.Shape)
	for i, n := range shape {
		same = same && t.Shape[i] == int64(n)
		count *= int64(n) // the configuration's bounds keep this far from an overflow
	}
	if !same {
		return nil, fmt.Errorf("%s: its shape is %v, config.json asks for %v", name, t.Shape, shape)
	}
	if have := t.Offsets[1] - t.Offsets[0]; have != count*width {
		return nil, fmt.Errorf("%s: %d bytes hold a shape of %v, which takes %d", name, have, shape, count*width)
	}
	values := make([]float32, count)
	buffer := make([]byte, min(count*width, 1<<16))
	halves := make([]uint16, len(buffer)/2)
	for rest, at := values, w.start+t.Offsets[0]; len(rest) > 0; {
		b := buffer[:min(int64(len(buffer)), int64(len(rest))*width)]
		if _, err := w.data.ReadAt(b, at); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		at += int64(len(b))
		n := len(b) / int(width)
		for i := range n {
			if width == 4 {
				rest[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			} else {
				halves[i] = binary.LittleEndian.Uint16(b[2*i:])
			}
		}
		switch t.DType {
		case "F16":
			kernel.DecodeF16(rest[:n], halves)
		case "BF16":
			kernel.DecodeBF16(rest[:n], halves)
		}
		rest = rest[n:]
	}
	return values, nil
}
