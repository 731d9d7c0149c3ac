package index

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"engram/internal/slab"
)

// A segment is a list of vectors, through growth and first values.
func TestSegmentAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := slab.NewPool(1 << 30)
		d := rapid.IntRange(1, 70).Draw(t, "dim")
		shape := Shape{Metric(rapid.IntRange(0, 2).Draw(t, "metric")), d, d, Encoding(rapid.IntRange(0, 4).Draw(t, "encoding")), rapid.SampledFrom(valueEncodings).Draw(t, "value encoding"), 1}
		if rapid.Bool().Draw(t, "other value dim") {
			shape.ValueDim = d + 3
		}
		s, err := NewSegment(pool, shape, rapid.IntRange(1, 10).Draw(t, "capacity"), false)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var keys, values [][]float32
		for range rapid.IntRange(0, 60).Draw(t, "rows") {
			key := make([]float32, d)
			uniform(r, key)
			var value []float32
			if shape.ValueDim != d || r.IntN(8) == 0 {
				value = make([]float32, shape.ValueDim)
				uniform(r, value)
			}
			for {
				err := s.Append(key, value)
				if err == nil {
					break
				}
				var c *Segment
				switch {
				case errors.Is(err, ErrFull):
					c, err = s.Copy(pool, 2*s.Cap(), false)
				case errors.Is(err, ErrNeedsValues) && value != nil:
					c, err = s.Copy(pool, s.Cap(), true)
				}
				if err != nil {
					t.Fatal(err)
				}
				s.Free()
				s = c
			}
			// What is stored is what was given, rounded to the encoding.
			if shape.Encoding == Int8Only {
				key = s.KeyInto(nil, s.Rows()-1)
			}
			key = halved(shape.Encoding, key)
			if value == nil {
				value = key
			}
			value = halved(shape.Values, value)
			keys, values = append(keys, key), append(values, value)
		}
		if s.Rows() != len(keys) || s.Cap() < s.Rows() {
			t.Fatalf("%d rows of %d, want %d", s.Rows(), s.Cap(), len(keys))
		}
		for i := range keys {
			if key, value := s.KeyInto(nil, i), s.ValueInto(nil, i); !slices.Equal(key, keys[i]) || !slices.Equal(value, values[i]) {
				t.Fatalf("row %d is %v → %v, want %v → %v", i, key, value, keys[i], values[i])
			}
			if !slices.Equal(s.Key(i), keys[i]) || !slices.Equal(s.Value(i), values[i]) {
				t.Fatalf("row %d is %v → %v by itself, want %v → %v", i, s.Key(i), s.Value(i), keys[i], values[i])
			}
			if shape.Metric == Cosine && s.inverseNorms(i, i+1)[0] != float32(1/Norm(keys[i])) {
				t.Fatalf("row %d has inverse norm %v, want 1/%v", i, s.inverseNorms(i, i+1)[0], Norm(keys[i]))
			}
		}
		if s.Bytes() != SegmentBytes(shape, s.Cap(), s.HasValues()) {
			t.Errorf("Bytes is %d, SegmentBytes %d", s.Bytes(), SegmentBytes(shape, s.Cap(), s.HasValues()))
		}
		s.Free()
		if pool.InUse() != 0 {
			t.Errorf("%d bytes in use after Free", pool.InUse())
		}
	})
}

func TestSegmentBudget(t *testing.T) {
	pool := slab.NewPool(10 << 10)
	if _, err := NewSegment(pool, Shape{Dot, 64, 64, F32, F32, 1}, 100, false); !errors.Is(err, slab.ErrBudget) {
		t.Errorf("got %v, want ErrBudget", err)
	}
	if _, err := NewSegment(pool, Shape{Dot, 64, 64, F32, F32, 1}, 30, true); !errors.Is(err, slab.ErrBudget) {
		t.Errorf("of the values: got %v, want ErrBudget", err)
	}
	if pool.InUse() != 0 {
		t.Errorf("%d bytes in use after refusals", pool.InUse())
	}
}

// Small namespaces are the many: eight rows of 64 dimensions cost little over 2 KiB.
func TestSmallSegmentIsCheap(t *testing.T) {
	pool := slab.NewPool(1 << 20)
	s, err := NewSegment(pool, Shape{Cosine, 64, 64, F32, F32, 1}, 8, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Free()
	if pool.InUse() > 2112 {
		t.Errorf("eight rows take %d bytes of slabs", pool.InUse())
	}
	if size := unsafe.Sizeof(*s); size > 150 {
		t.Errorf("a Segment is %d bytes", size)
	}
}

// Readers of published rows and the one writer go on at once: for the race detector.
func TestReadWhileAppending(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	pool := slab.NewPool(1 << 30)
	shape := Shape{Cosine, 24, 24, F32, F32, 1}
	s, err := NewSegment(pool, shape, 3000, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Free()
	var published atomic.Int64
	var wg sync.WaitGroup
	for n := range 2 {
		queries := (&fixture{shape: shape}).queries(rand.New(rand.NewPCG(33, uint64(n))), uniform, 1+8*n)
		wg.Go(func() {
			for rows := 0; rows < s.Cap(); {
				rows = int(published.Load())
				p := []Part{{Segment: s, Rows: rows, Age: func(row uint32) (uint64, uint32) { return uint64(row), 0 }}}
				hits, _, err := Search(context.Background(), shape, p, queries, SearchOptions{K: 3, MinScore: never})
				if err != nil || len(hits[0]) != min(3, rows) {
					t.Errorf("of %d rows: %v, %v", rows, hits, err)
					return
				}
				a, _, err := Attend(context.Background(), shape, p, queries, AttendOptions{Scale: 1})
				if err != nil || a[0].Attended != uint64(rows) || math.IsNaN(a[0].Entropy) {
					t.Errorf("of %d rows: %v, %v", rows, a, err)
					return
				}
			}
		})
	}
	key := make([]float32, 24)
	for i := range s.Cap() {
		uniform(r, key)
		if err := s.Append(key, nil); err != nil {
			t.Fatal(err)
		}
		published.Store(int64(i + 1))
	}
	wg.Wait()
}
