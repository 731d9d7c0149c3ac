package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"engram/client"
)

// fields are the names that a record's fields have in JSONL.
type fields struct {
	IDField         string `name:"id-field" default:"id" placeholder:"NAME" help:"Default: id."`
	TextField       string `default:"text" placeholder:"NAME" help:"Default: text."`
	KeyField        string `default:"key" placeholder:"NAME" help:"Default: key."`
	ValueField      string `default:"value" placeholder:"NAME" help:"Default: value."`
	MetadataField   string `default:"metadata" placeholder:"NAME" help:"Default: metadata."`
	SessionField    string `default:"session" placeholder:"NAME" help:"Default: session."`
	SpeakerField    string `default:"speaker" placeholder:"NAME" help:"Default: speaker."`
	TimeField       string `default:"time" placeholder:"NAME" help:"Default: time."`
	ImportanceField string `default:"importance" placeholder:"NAME" help:"Default: importance."`
}

// maxLine is the longest line of JSONL: a vector of 8,192 numbers and all the rest
// fit many times.
const maxLine = 4 << 20

// jsonlRecords reads a record a line; empty lines are passed over.
func (f *fields) jsonlRecords(in io.Reader) iter.Seq2[numbered, error] {
	return func(yield func(numbered, error) bool) {
		lines := bufio.NewScanner(in)
		lines.Buffer(make([]byte, 64<<10), maxLine)
		n := 0
		for lines.Scan() {
			n++
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			r, err := f.record(lines.Bytes())
			if err != nil {
				err = &badLine{n, err}
			}
			if !yield(numbered{n, r}, err) {
				return
			}
		}
		if errors.Is(lines.Err(), bufio.ErrTooLong) {
			yield(numbered{}, fmt.Errorf("line %d is longer than %d bytes", n+1, maxLine))
		} else if lines.Err() != nil {
			yield(numbered{}, lines.Err())
		}
	}
}

// record reads one line.
func (f *fields) record(line []byte) (client.Record, error) {
	var r client.Record
	var o map[string]json.RawMessage
	if err := json.Unmarshal(line, &o); err != nil {
		return r, fmt.Errorf("not a JSON object: %w", err)
	}
	if o == nil {
		return r, errors.New("not a JSON object: null")
	}
	vectors := map[string]json.RawMessage{f.KeyField: o[f.KeyField], f.ValueField: o[f.ValueField]}
	take := func(name string, to any) error {
		raw, ok := o[name]
		delete(o, name)
		if !ok || string(raw) == "null" {
			return nil
		}
		if err := json.Unmarshal(raw, to); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
		return nil
	}
	var id, when any
	err := errors.Join(
		take(f.IDField, &id), take(f.TextField, &r.Text), take(f.KeyField, &r.Key), take(f.ValueField, &r.Value),
		take(f.MetadataField, &r.Metadata), take(f.SessionField, &r.Session), take(f.SpeakerField, &r.Speaker),
		take(f.TimeField, &when), take(f.ImportanceField, &r.Importance),
	)
	if err != nil {
		return r, err
	}
	for _, name := range []string{f.KeyField, f.ValueField} {
		if v := vectors[name]; string(v) != "null" && bytes.Contains(v, []byte("null")) { // which would be taken for 0
			return r, fmt.Errorf("field %q: a component is null", name)
		}
	}
	delete(o, "version") // what list --json adds
	switch id := id.(type) {
	case nil:
	case string:
		r.ID = id
	case float64:
		r.ID = strconv.FormatFloat(id, 'f', -1, 64)
	default:
		return r, fmt.Errorf("field %q: an id is a string or a number", f.IDField)
	}
	if r.Time, err = timeOf(when); err != nil {
		return r, fmt.Errorf("field %q: %w", f.TimeField, err)
	}
	if len(o) > 0 && r.Metadata == nil {
		r.Metadata = map[string]any{}
	}
	for name, raw := range o {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return r, fmt.Errorf("field %q: %w", name, err)
		}
		r.Metadata[name] = v
	}
	return r, nil
}

func timeOf(v any) (time.Time, error) {
	switch v := v.(type) {
	case nil:
		return time.Time{}, nil
	case string:
		for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
			if t, err := time.Parse(layout, v); err == nil {
				return t, nil
			}
		}
	case float64:
		if math.Abs(v) < 9e9 {
			whole, part := math.Modf(v)
			return time.Unix(int64(whole), int64(part*1e9)).UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("expected a time like 1969-07-20T20:17:40Z, or seconds since 1970, not %v", v)
}

const npyMagic = "\x93NUMPY"

var (
	npyDescr = regexp.MustCompile(`'descr':\s*'([^']*)'`)
	npyOrder = regexp.MustCompile(`'fortran_order':\s*(\w+)`)
	npyShape = regexp.MustCompile(`'shape':\s*\((\d+),\s*(\d+)\s*,?\)`)
)

// maxVectorDim bounds what a file may say of its vectors.
const maxVectorDim = 1 << 20

// npyRecords reads the rows of a 2-D array (NumPy's format, versions 1 to 3).
func npyRecords(in *bufio.Reader) iter.Seq2[numbered, error] {
	return func(yield func(numbered, error) bool) {
		rows, dim, width, err := npyHeader(in)
		if err != nil {
			yield(numbered{}, fmt.Errorf("not an array that can be read: %w", err))
			return
		}
		b := make([]byte, dim*width)
		for i := range rows {
			if _, err := io.ReadFull(in, b); err != nil {
				yield(numbered{}, fmt.Errorf("row %d of %d: the file ends early: %w", i, rows, err))
				return
			}
			if !yield(vectorRecord(i, b, width), nil) {
				return
			}
		}
	}
}

func npyHeader(in io.Reader) (rows, dim, width int, err error) {
	head := make([]byte, 12)
	if _, err := io.ReadFull(in, head[:10]); err != nil {
		return 0, 0, 0, err
	}
	size := int(binary.LittleEndian.Uint16(head[8:]))
	if head[6] >= 2 {
		if _, err := io.ReadFull(in, head[10:]); err != nil {
			return 0, 0, 0, err
		}
		size = int(binary.LittleEndian.Uint32(head[8:]))
	}
	if size > 1<<16 {
		return 0, 0, 0, fmt.Errorf("a header of %d bytes", size)
	}
	dict := make([]byte, size)
	if _, err := io.ReadFull(in, dict); err != nil {
		return 0, 0, 0, err
	}
	descr, order, shape := npyDescr.FindSubmatch(dict), npyOrder.FindSubmatch(dict), npyShape.FindSubmatch(dict)
	switch {
	case descr == nil || order == nil || shape == nil || string(order[1]) != "False":
		return 0, 0, 0, fmt.Errorf("expected two dimensions in C order, found %s", strings.TrimSpace(string(dict)))
	case string(descr[1]) == "<f4":
		width = 4
	case string(descr[1]) == "<f8":
		width = 8
	default:
		return 0, 0, 0, fmt.Errorf("expected float32 or float64 (<f4, <f8), found %s", descr[1])
	}
	rows, err = strconv.Atoi(string(shape[1]))
	if err != nil {
		return 0, 0, 0, err
	}
	if dim, err = strconv.Atoi(string(shape[2])); err != nil || dim < 1 || dim > maxVectorDim {
		return 0, 0, 0, fmt.Errorf("rows of %s components", shape[2])
	}
	return rows, dim, width, nil
}

func vectorRecord(i int, b []byte, width int) numbered {
	v := make([]float32, len(b)/width)
	for j := range v {
		if width == 4 {
			v[j] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*j:]))
		} else {
			v[j] = float32(math.Float64frombits(binary.LittleEndian.Uint64(b[8*j:])))
		}
	}
	return numbered{i + 1, client.Record{ID: strconv.Itoa(i), Key: v}}
}

// fvecsRecords reads vectors, each a 32-bit count and so many float32s.
func fvecsRecords(in *bufio.Reader) iter.Seq2[numbered, error] {
	return func(yield func(numbered, error) bool) {
		head := make([]byte, 4)
		var b []byte
		for i := 0; ; i++ {
			if _, err := io.ReadFull(in, head); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				yield(numbered{}, fmt.Errorf("vector %d: the file ends early: %w", i, err))
				return
			}
			dim := binary.LittleEndian.Uint32(head)
			if dim == 0 || dim > maxVectorDim {
				yield(numbered{}, fmt.Errorf("vector %d: a dimension of %d; is this an .fvecs file?", i, dim))
				return
			}
			b = append(b[:0], make([]byte, 4*dim)...)
			if _, err := io.ReadFull(in, b); err != nil {
				yield(numbered{}, fmt.Errorf("vector %d: the file ends early: %w", i, err))
				return
			}
			if !yield(vectorRecord(i, b, 4), nil) {
				return
			}
		}
	}
}
