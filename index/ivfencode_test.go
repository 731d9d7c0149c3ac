package index

import (
	"context"
	"errors"
	"slices"
	"testing"

	"engram/internal/slab"
)

func FuzzReadTrained(f *testing.F) {
	pool := slab.NewPool(1 << 20)
	shape := Shape{L2, 3, 3, F32, F32, 1}
	parts := partsOf(f, pool, shape, [][]float32{{1, 2, 3}, {3, 2, 1}}, 2)
	x := buildIVF(f, pool, shape, parts, IVFOptions{Lists: 2})
	f.Add(x.AppendTrained(nil), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, list uint32) {
		x, err := AssembleIVF(context.Background(), pool, shape, parts, b, func(int, uint32) uint32 { return list }, 1)
		if err != nil {
			if !errors.Is(err, ErrTrained) {
				t.Error(err)
			}
			return
		}
		defer x.Release()
		if !slices.Equal(x.AppendTrained(nil), b) {
			t.Errorf("%x was written otherwise", b)
		}
		if hits, _ := searchIVF(t, x, parts, [][]float32{{1, 2, 3}}, all(2)); len(hits[0]) != 2 {
			t.Errorf("%x: %v", b, hits)
		}
	})
}
