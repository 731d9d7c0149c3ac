package memory

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"engram/index"
)

// Values of 16 bits are what is read, and what Attend sums, whether they are given or keys
// stand for them; a change of their encoding reaches what is there, and takes no more room
// than it must.
func TestValueEncoding(t *testing.T) {
	db := newTestDB(t)
	cfg := Config{Name: "n", Metric: index.Dot, Dimension: 2, ValueDimension: 2, ValueEncoding: index.BF16}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
		t.Fatal(err)
	}
	const x, rounded = 1.0 + 0x1p-9, 1.0 // the half of BF16's last place above 1, and less
	put := func(id string, value []float32) {
		t.Helper()
		p := Put{Record: Record{ID: id, Key: []float32{x, 0}, Value: value}}
		if _, err := db.Store(t.Context(), &Store{Namespace: "n", Records: []Put{p}}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(value, context float32, own bool) {
		t.Helper()
		idle(t, db, "n")
		v := view(t, db, "n")
		defer v.Release()
		if got := v.segments[0].vectors.HasValues(); got != own {
			t.Errorf("the segment has values of its own: %v", got)
		}
		a, _, err := db.Attend(t.Context(), []*View{v}, []Query{{Vector: []float32{0, 0}}}, AttendOptions{})
		if err != nil || a[0].Context[0] != context {
			t.Errorf("the context is %v, not %v: %v", a[0].Context, context, err)
		}
		var r Record
		if v.Get("own", &r, IncludeAll) && r.Value[0] != value {
			t.Errorf("the value is %v, not %v", r.Value, value)
		}
		if !v.Get("a", &r, IncludeAll) || r.Key[0] != x || r.Value != nil {
			t.Errorf("the record is %+v", r)
		}
	}
	as := func(e index.Encoding) {
		t.Helper()
		if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", ValueEncoding: &e}); err != nil {
			t.Fatal(err)
		}
	}
	put("a", nil)
	check(0, rounded, true)
	as(index.F32)
	check(0, x, false)
	as(index.BF16)
	put("own", []float32{x, 0})
	check(rounded, rounded, true)
	as(index.F32)
	check(rounded, float32(x+rounded)/2, true) // what was rounded stays so
}

// What F16 can't keep is refused with the field, the value and the limit.
func TestF16Refuses(t *testing.T) {
	db := newTestDB(t)
	cfg := Config{Name: "n", Metric: index.Cosine, Dimension: 2, ValueDimension: 3, KeyEncoding: index.F16, ValueEncoding: index.F16}
	if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
		t.Fatal(err)
	}
	store := func(namespace string, key, value []float32) error {
		_, err := db.Store(t.Context(), &Store{Namespace: namespace, Records: []Put{{Record: Record{ID: "a", Key: key, Value: value}}}})
		return err
	}
	ok := []float32{1, 2}
	for _, c := range []struct {
		key, value    []float32
		field, reason string
	}{
		{[]float32{0, -65505}, []float32{1, 2, 3}, "records[0].key", "has component 1 = -65505; in F16 a magnitude of at most 65504 is allowed"},
		{ok, []float32{1, 1e9, 3}, "records[0].value", "has component 1 = 1e+09; in F16 a magnitude of at most 65504 is allowed"},
		{[]float32{0x1p-15, 0}, []float32{1, 2, 3}, "records[0].key", "COSINE"},
	} {
		var invalid *Invalid
		err := store("n", c.key, c.value)
		if !errors.As(err, &invalid) || invalid.Violations[0].Field != c.field || !strings.Contains(invalid.Violations[0].Reason, c.reason) {
			t.Errorf("%v → %v: %v", c.key, c.value, err)
		}
	}
	if err := store("n", []float32{65504, -65504}, []float32{0x1p-30, 0, 65504}); err != nil {
		t.Error(err)
	}

	// A change of encoding is refused for what is stored.
	f16, bf16, f32 := index.F16, index.BF16, index.F32
	var precondition *Precondition
	for name, u := range map[string]UpdateNamespace{"key": {KeyEncoding: &f16}, "value": {ValueEncoding: &f16}, "both": {KeyEncoding: &bf16, ValueEncoding: &f16}} {
		u.Name = name
		n := cfg
		n.Name, n.ValueDimension, n.KeyEncoding, n.ValueEncoding = name, 2, f32, f32
		if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{n}); err != nil {
			t.Fatal(err)
		}
		key, value := ok, []float32{1, 70000}
		if name != "value" {
			key, value = []float32{70000, 1}, nil
		}
		if err := store(name, key, value); err != nil {
			t.Fatal(err)
		}
		if err := db.UpdateNamespace(t.Context(), &u); !errors.As(err, &precondition) || !strings.Contains(err.Error(), "70000") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := db.Delete(t.Context(), &Delete{Namespace: name, IDs: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		if err := db.UpdateNamespace(t.Context(), &u); err != nil {
			t.Errorf("%s, without the record: %v", name, err)
		}
		if err := store(name, key, value); err == nil {
			t.Errorf("%s takes %v → %v", name, key, value)
		}
	}
	wrong := index.Int8
	if err := db.UpdateNamespace(t.Context(), &UpdateNamespace{Name: "n", ValueEncoding: &wrong}); err == nil {
		t.Error("values are kept with codes")
	}
}

// Keys at the bounds of norms are restored although rounding moved them beyond.
func TestRestoreRounded(t *testing.T) {
	for _, e := range []index.Encoding{index.Int8Only, index.BF16} {
		t.Run(fmt.Sprint(e), func(t *testing.T) {
			db, to := newTestDB(t), newTestDB(t)
			cfg := Config{Name: "n", Metric: index.Cosine, Dimension: 3, ValueDimension: 3, KeyEncoding: e}
			if _, err := db.CreateNamespace(t.Context(), &CreateNamespace{cfg}); err != nil {
				t.Fatal(err)
			}
			var puts []Put
			for i := range 200 {
				angle := float64(i)
				for _, norm := range []float64{minCosineNorm * (1 + 1e-6), maxNorm * (1 - 1e-6)} {
					key := []float32{float32(norm * math.Cos(angle)), float32(norm * math.Sin(angle)), 0}
					puts = append(puts, Put{Record: Record{ID: fmt.Sprint(i, norm), Key: key}})
				}
			}
			if _, err := db.Store(t.Context(), &Store{Namespace: "n", Records: puts}); err != nil {
				t.Fatal(err)
			}
			v := view(t, db, "n")
			defer v.Release()
			r := to.Restore()
			n, err := r.Namespace(v.Config(), v.LSN(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var keys [][]float32
			v.Records(func(r *Record) bool {
				keys = append(keys, slices.Clone(r.Key))
				err = n.Add(r)
				return err == nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Done(); err != nil {
				t.Fatal(err)
			}
			if err := r.Done(0); err != nil {
				t.Fatal(err)
			}
			again := view(t, to, "n")
			defer again.Release()
			i := 0
			again.Records(func(r *Record) bool {
				if !slices.Equal(r.Key, keys[i]) {
					t.Errorf("record %d is %v, not %v", i, r.Key, keys[i])
				}
				i++
				return true
			})
		})
	}
}
