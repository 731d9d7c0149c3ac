package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"engram/client"
)

// names are the fields of JSONL under their own names.
var names = fields{"id", "text", "key", "value", "metadata", "session", "speaker", "time", "importance"}

func TestJSONLRecord(t *testing.T) {
	landing := time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC)
	for _, tt := range []struct {
		name, line string
		want       client.Record
		wrong      string // part of the error; empty for none
	}{
		{name: "everything", line: `{"id":"a","text":"t","key":[1,2.5],"value":[3],"metadata":{"k":[1,"x"]},"session":"s","speaker":"p","time":"1969-07-20T20:17:40Z","importance":0.25}`,
			want: client.Record{ID: "a", Text: "t", Key: []float32{1, 2.5}, Value: []float32{3}, Metadata: map[string]any{"k": []any{1.0, "x"}}, Session: "s", Speaker: "p", Time: landing, Importance: 0.25}},
		{name: "nothing", line: `{}`},
		{name: "null is absent", line: `{"id":null,"text":null,"key":null,"metadata":null,"time":null}`},
		{name: "a number as id", line: `{"id":12345678901}`, want: client.Record{ID: "12345678901"}},
		{name: "what is not named is metadata", line: `{"text":"t","votes":3,"tags":["a"]}`, want: client.Record{Text: "t", Metadata: map[string]any{"votes": 3.0, "tags": []any{"a"}}}},
		{name: "beside metadata that is there", line: `{"metadata":{"a":1},"b":true}`, want: client.Record{Metadata: map[string]any{"a": 1.0, "b": true}}},
		{name: "what list --json adds", line: `{"id":"a","version":7}`, want: client.Record{ID: "a"}},
		{name: "seconds since 1970", line: `{"time":-14182940}`, want: client.Record{Time: landing}},
		{name: "a date", line: `{"time":"1969-07-20"}`, want: client.Record{Time: time.Date(1969, 7, 20, 0, 0, 0, 0, time.UTC)}},
		{name: "a time without a zone", line: `{"time":"1969-07-20 20:17:40"}`, want: client.Record{Time: landing}},

		{name: "not JSON", line: `hello`, wrong: "not a JSON object"},
		{name: "an array", line: `[1]`, wrong: "not a JSON object"},
		{name: "null", line: `null`, wrong: "not a JSON object"},
		{name: "cut", line: `{"text":"t`, wrong: "not a JSON object"},
		{name: "text that is a number", line: `{"text":1}`, wrong: `"text"`},
		{name: "an id that is a list", line: `{"id":[1]}`, wrong: `"id"`},
		{name: "a key of words", line: `{"key":["a"]}`, wrong: `"key"`},
		{name: "a key with a hole", line: `{"key":[1,null,3]}`, wrong: `"key": a component is null`},
		{name: "a value beyond float32", line: `{"value":[1e39]}`, wrong: `"value"`},
		{name: "metadata that is a list", line: `{"metadata":[1]}`, wrong: `"metadata"`},
		{name: "a time in words", line: `{"time":"yesterday"}`, wrong: `"time": expected a time like`},
		{name: "a time too far", line: `{"time":1e18}`, wrong: `"time"`},
		{name: "two wrong fields", line: `{"text":1,"speaker":2}`, wrong: `"speaker"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := names.record([]byte(tt.line))
			checkError(t, err, tt.wrong)
			if tt.wrong == "" {
				checkEqual(t, got, tt.want)
			}
		})
	}
}

func checkError(t *testing.T, err error, wrong string) {
	t.Helper()
	switch {
	case wrong == "" && err != nil:
		t.Fatal(err)
	case wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)):
		t.Fatalf("error %v; want one with %q", err, wrong)
	}
}

func checkEqual[T any](t *testing.T, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestJSONLNamesMappedByFlags(t *testing.T) {
	f := names
	f.TextField, f.SpeakerField = "body", "author"
	got, err := f.record([]byte(`{"body":"t","author":"p","text":"kept"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := client.Record{Text: "t", Speaker: "p", Metadata: map[string]any{"text": "kept"}}
	checkEqual(t, got, want)
}

func TestJSONLLines(t *testing.T) {
	got := collect(names.jsonlRecords(strings.NewReader("{\"id\":\"a\"}\n\n  \r\n{oops\n{\"id\":\"b\"}")))
	want := []string{"1 a", `line 4: not a JSON object: invalid character 'o' looking for beginning of object key string`, "5 b"}
	checkEqual(t, got, want)
	got = collect(names.jsonlRecords(strings.NewReader("{}\n" + strings.Repeat("x", maxLine+1))))
	checkEqual(t, got, []string{"1 ", "line 2 is longer than 4194304 bytes"})
}

// collect gives what a source gives as text: records by line, id and key, and errors.
func collect(source iter.Seq2[numbered, error]) []string {
	var out []string
	for r, err := range source {
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		s := fmt.Sprint(r.line, " ", r.ID)
		if r.Key != nil {
			s += fmt.Sprint(" ", r.Key)
		}
		out = append(out, s)
	}
	return out
}

// npy makes a file of NumPy's format.
func npy(version byte, dict string, data any) []byte {
	var b bytes.Buffer
	b.WriteString(npyMagic)
	b.Write([]byte{version, 0})
	if version == 1 {
		_ = binary.Write(&b, binary.LittleEndian, uint16(len(dict)))
	} else {
		_ = binary.Write(&b, binary.LittleEndian, uint32(len(dict)))
	}
	b.WriteString(dict)
	_ = binary.Write(&b, binary.LittleEndian, data)
	return b.Bytes()
}

func TestNPY(t *testing.T) {
	const f4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n"
	six := []float32{1, 2, 3, 4, 5, 6}
	rows := []string{"1 0 [1 2 3]", "2 1 [4 5 6]"}
	for _, tt := range []struct {
		name string
		file []byte
		want []string
	}{
		{"float32", npy(1, f4, six), rows},
		{"version 2", npy(2, f4, six), rows},
		{"version 3", npy(3, f4, six), rows},
		{"float64", npy(1, strings.Replace(f4, "<f4", "<f8", 1), []float64{1, 2, 3, 4, 5, 6}), rows},
		{"no rows", npy(1, strings.Replace(f4, "2, 3", "0, 3", 1), []float32{}), nil},
		{"cut in row 1", npy(1, f4, six[:5]), []string{rows[0], "row 1 of 2: the file ends early: unexpected EOF"}},
		{"integers", npy(1, strings.Replace(f4, "<f4", "<i4", 1), six), []string{"not an array that can be read: expected float32 or float64 (<f4, <f8), found <i4"}},
		{"one dimension", npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", six), []string{"not an array that can be read: expected two dimensions in C order, found {'descr': '<f4', 'fortran_order': False, 'shape': (6,), }"}},
		{"Fortran's order", npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", six), []string{"not an array that can be read: expected two dimensions in C order, found {'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }"}},
		{"no components", npy(1, strings.Replace(f4, "2, 3", "2, 0", 1), six), []string{"not an array that can be read: rows of 0 components"}},
		{"too many components", npy(1, strings.Replace(f4, "2, 3", "2, 99999999", 1), six), []string{"not an array that can be read: rows of 99999999 components"}},
		{"a header too large", npy(2, strings.Repeat(" ", 1<<16+1), six), []string{"not an array that can be read: a header of 65537 bytes"}},
		{"empty", nil, []string{"not an array that can be read: EOF"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkEqual(t, collect(npyRecords(bufio.NewReader(bytes.NewReader(tt.file)))), tt.want)
		})
	}
}

// fvecs makes a file of vectors.
func fvecs(vectors ...[]float32) []byte {
	var b bytes.Buffer
	for _, v := range vectors {
		_ = binary.Write(&b, binary.LittleEndian, uint32(len(v)))
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	return b.Bytes()
}

func TestFVecs(t *testing.T) {
	two := fvecs([]float32{1, 2}, []float32{3, 4})
	for _, tt := range []struct {
		name string
		file []byte
		want []string
	}{
		{"two", two, []string{"1 0 [1 2]", "2 1 [3 4]"}},
		{"none", nil, nil},
		{"cut in a vector", two[:len(two)-1], []string{"1 0 [1 2]", "vector 1: the file ends early: unexpected EOF"}},
		{"cut after a count", two[:16], []string{"1 0 [1 2]", "vector 1: the file ends early: EOF"}},
		{"cut in a count", two[:14], []string{"1 0 [1 2]", "vector 1: the file ends early: unexpected EOF"}},
		{"a dimension of 0", fvecs(nil), []string{"vector 0: a dimension of 0; is this an .fvecs file?"}},
		{"something else", []byte("hello, world"), []string{"vector 0: a dimension of 1819043176; is this an .fvecs file?"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkEqual(t, collect(fvecsRecords(bufio.NewReader(bytes.NewReader(tt.file)))), tt.want)
		})
	}
}

// FuzzFormats feeds each reader anything: no reader may fail but by an error, which
// is the last it gives, and what it gives is what stands in the file.
func FuzzFormats(f *testing.F) {
	f.Add([]byte("{\"id\":\"a\",\"key\":[1,2]}\n{\"time\":1e9}\n"))
	f.Add(npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", []float32{1, 2}))
	f.Add(npy(2, "{'descr': '<f8', 'fortran_order': False, 'shape': (9, 1), }", []float64{1}))
	f.Add(fvecs([]float32{1}, []float32{2}))
	f.Fuzz(func(t *testing.T, file []byte) {
		line := 0
		for r, err := range names.jsonlRecords(bytes.NewReader(file)) {
			if err == nil {
				if r.line <= line {
					t.Fatalf("line %d after line %d", r.line, line)
				}
				line = r.line
			}
		}
		for what, source := range map[string]iter.Seq2[numbered, error]{
			"npy":   npyRecords(bufio.NewReader(bytes.NewReader(file))),
			"fvecs": fvecsRecords(bufio.NewReader(bytes.NewReader(file))),
		} {
			n, components, failed := 0, 0, false
			for r, err := range source {
				if failed {
					t.Fatalf("%s: something after an error", what)
				}
				if failed = err != nil; !failed {
					n++
					components += len(r.Key)
					if r.line != n || len(r.Key) == 0 {
						t.Fatalf("%s: record %d of %d components is numbered %d", what, n, len(r.Key), r.line)
					}
				}
			}
			if 4*components > len(file) {
				t.Fatalf("%s: %d components from %d bytes", what, components, len(file))
			}
		}
	})
}

func TestVectorsOnTheCommandLine(t *testing.T) {
	for s, want := range map[string][]float32{"1,2.5": {1, 2.5}, "[1, -2]": {1, -2}, "1e-3": {1e-3}, "NaN": {float32(math.NaN())}} {
		got, err := parseVector(s)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"1,x", "1e39"} {
		if _, err := parseVector(s); !isUsage(err) {
			t.Errorf("%q: %v; want an error of usage", s, err)
		}
	}
}

func TestByteSize(t *testing.T) {
	for s, want := range map[string]byteSize{"0": 0, "1000": 1000, "1KiB": 1024, "1.5 GiB": 3 << 29, "2TiB": 2 << 40} {
		var got byteSize
		if err := got.UnmarshalText([]byte(s)); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "1GB", "99999999TiB", "NaN"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q is taken for %d", s, got)
		}
	}
}
