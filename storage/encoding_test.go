package storage

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"engram/index"
	"engram/memory"
)

// The encodings of keys and values share a byte, whichever of them a mutation changes. That
// of a mutation of before there were any of values means what it meant.
func TestMutationEncodings(t *testing.T) {
	keys := []index.Encoding{index.F32, index.Int8, index.Int8Only, index.F16, index.BF16}
	values := []index.Encoding{index.F32, index.F16, index.BF16}
	for k := -1; k < len(keys); k++ {
		for v := -1; v < len(values); v++ {
			m := &memory.Mutation{Namespace: "n"}
			if k >= 0 {
				m.KeyEncoding = &keys[k]
			}
			if v >= 0 {
				m.ValueEncoding = &values[v]
			}
			show := func(m *memory.Mutation) string {
				s := [2]string{"<nil>", "<nil>"}
				if m.KeyEncoding != nil {
					s[0] = fmt.Sprint(*m.KeyEncoding)
				}
				if m.ValueEncoding != nil {
					s[1] = fmt.Sprint(*m.ValueEncoding)
				}
				return s[0] + " " + s[1]
			}
			want := show(m)
			b := appendMutation(nil, m)
			got, err := mutationOf(&journalFrame{data: b})
			if err != nil || show(got) != want {
				t.Errorf("%s becomes %v: %v", want, got, err)
			}
			if at := len(b) - 3; k >= 0 && v < 0 && b[at] != byte(keys[k]) {
				t.Errorf("%s is written as %#x", want, b[at])
			}
		}
	}
	for _, wrong := range []byte{5, 14, 0x21, 0x31, 0x61, 0xf1} {
		b := appendMutation(nil, &memory.Mutation{Namespace: "n", KeyEncoding: &keys[1]})
		b[len(b)-3] = wrong
		if m, err := mutationOf(&journalFrame{data: b}); err == nil {
			t.Errorf("%#x is read as %v and %v", wrong, m.KeyEncoding, m.ValueEncoding)
		}
	}
}

// A snapshot brings back encodings, and vectors as they were stored.
func TestSnapshotEncodings(t *testing.T) {
	for _, key := range []index.Encoding{index.F32, index.Int8Only, index.F16, index.BF16} {
		for _, value := range []index.Encoding{index.F32, index.F16, index.BF16} {
			c := memory.Config{Name: "n", Metric: index.L2, Dimension: 3, ValueDimension: 2, KeyEncoding: key, ValueEncoding: value}
			cursor := cursor{b: appendConfig(nil, &c), version: version}
			if got := cursor.config("n"); cursor.err != nil || got != c {
				t.Errorf("%+v comes back as %+v: %v", c, got, cursor.err)
			}
			db := newDB(t)
			if _, err := db.CreateNamespace(context.Background(), &memory.CreateNamespace{Config: c}); err != nil {
				t.Fatal(err)
			}
			record := memory.Record{ID: "a", Key: []float32{0.1, -70.3, 1e-9}, Value: []float32{1e4, 1.0 / 3}}
			if _, err := db.Store(context.Background(), &memory.Store{Namespace: "n", Records: []memory.Put{{Record: record}}}); err != nil {
				t.Fatal(err)
			}
			want := stored(t, db)
			if rounded := !slices.Equal(want.Key, record.Key); rounded != (key != index.F32) {
				t.Errorf("%d: the key %v is stored as %v", key, record.Key, want.Key)
			}
			if rounded := !slices.Equal(want.Value, record.Value); rounded != (value != index.F32) {
				t.Errorf("%d: the value %v is stored as %v", value, record.Value, want.Value)
			}
			dir := t.TempDir()
			d := openDir(t, dir)
			info, err := d.Snapshots(db).Snapshot(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if got, _, err := readBack(t, dir, info.File); err != nil || got != dump(db) {
				t.Errorf("%d, %d: %v\n%scomes back as\n%s", key, value, err, dump(db), got)
			}
		}
	}
}

// stored is the first record of a DB.
func stored(t *testing.T, db *memory.DB) (out memory.Record) {
	t.Helper()
	db.Views(func(v *memory.View) bool {
		v.Records(func(r *memory.Record) bool {
			out = *r
			out.Key, out.Value = slices.Clone(r.Key), slices.Clone(r.Value)
			return false
		})
		return false
	})
	return out
}
