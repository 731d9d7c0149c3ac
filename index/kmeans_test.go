package index

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// clusters gives n rows around k centres on the sphere, with a deviation.
func clusters(r *rand.Rand, n, dim, k int, deviation float64) [][]float32 {
	centres := make([][]float64, k)
	for i := range centres {
		centres[i] = make([]float64, dim)
		sum := 0.0
		for j := range centres[i] {
			centres[i][j] = r.NormFloat64()
			sum += centres[i][j] * centres[i][j]
		}
		for j := range centres[i] {
			centres[i][j] /= math.Sqrt(sum)
		}
	}
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, dim)
		c := centres[r.IntN(k)]
		for j := range out[i] {
			out[i][j] = float32(c[j] + deviation*r.NormFloat64()/math.Sqrt(float64(dim)))
		}
	}
	return out
}

func rowsOf(v [][]float32) rows {
	return rows{n: len(v), dim: len(v[0]), load: func(dst []float32, i int) { copy(dst, v[i]) }}
}

// cost is the mean squared distance to the nearest centroid, in float64.
func (c *centroids) cost(v [][]float32) float64 {
	total := 0.0
	for _, x := range v {
		least := math.Inf(1)
		for i := range c.k {
			d := 0.0
			for j, y := range c.at(i) {
				d += (float64(x[j]) - float64(y)) * (float64(x[j]) - float64(y))
			}
			least = min(least, d)
		}
		total += least
	}
	return total / float64(len(v))
}

// Every row's nearest is that of float64, but for what float32 can't tell apart.
func TestNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, spherical := range []bool{false, true} {
		for _, shape := range []struct{ n, dim, k int }{{1, 1, 1}, {100, 3, 7}, {1000, 37, 300}, {700, 128, 513}} {
			v := clusters(r, shape.n, shape.dim, 20, 1)
			c := newCentroids(shape.k, shape.dim, spherical)
			for i, x := range clusters(r, shape.k, shape.dim, 20, 1) {
				c.set(i, x)
			}
			best, at := make([]float32, shape.n), make([]uint32, shape.n)
			restart(best)
			if err := c.nearest(context.Background(), rowsOf(v), 0, 3, best, at); err != nil {
				t.Fatal(err)
			}
			for i, x := range v {
				score := func(l int) (s float64) {
					for j, y := range c.at(l) {
						s += float64(x[j]) * float64(y)
						if !spherical {
							s -= 0.5 * float64(y) * float64(y)
						}
					}
					return s
				}
				most := math.Inf(-1)
				for l := range c.k {
					most = max(most, score(l))
				}
				if score(int(at[i])) < most-1e-5 || math.Abs(float64(best[i])-most) > 1e-5 {
					t.Fatalf("%+v: row %d is with %d, %v, which says %v; the best is %v", shape, i, at[i], score(int(at[i])), best[i], most)
				}
			}
		}
	}
}

// Clusters that lie apart are all found, and the same for any number of workers.
func TestKmeans(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	v := clusters(r, 4000, 24, 30, 0.05)
	for _, spherical := range []bool{false, true} {
		var first *centroids
		for _, workers := range []int{1, 4} {
			c, err := kmeans(context.Background(), rowsOf(v), 60, spherical, 7, workers)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.cost(v); got > 0.05*0.05*1.05 {
				t.Errorf("spherical %v: the mean squared distance is %v, of the clusters %v", spherical, got, 0.05*0.05)
			}
			if first != nil && !slices.Equal(first.data, c.data) {
				t.Errorf("%d workers find other centroids", workers)
			}
			first = c
		}
	}
}

// Fewer kinds of rows than lists leave lists empty, which is no error.
func TestKmeansFewKinds(t *testing.T) {
	same := make([][]float32, 300)
	for i := range same {
		same[i] = []float32{float32(i % 3), 1, 0}
	}
	for _, spherical := range []bool{false, true} {
		c, err := kmeans(context.Background(), rowsOf(same), 16, spherical, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		if cost := c.cost(same); !spherical && cost > 1e-12 {
			t.Errorf("the cost is %v, and there are more lists than kinds of rows", cost)
		}
		for _, x := range c.data {
			if math.IsNaN(float64(x)) {
				t.Fatal("a centroid is not a number")
			}
		}
	}
}

// An empty list is given a part of the largest.
func TestKmeansRepair(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	v := clusters(r, 1000, 8, 1, 1)
	c := newCentroids(10, 8, false)
	at := make([]uint32, len(v)) // all in the first
	if err := c.update(context.Background(), rowsOf(v), at, r, 1); err != nil {
		t.Fatal(err)
	}
	best := make([]float32, len(v))
	restart(best)
	if err := c.nearest(context.Background(), rowsOf(v), 0, 1, best, at); err != nil {
		t.Fatal(err)
	}
	starts, _ := sortByList(at, c.k)
	for i := range c.k {
		if starts[i] == starts[i+1] {
			t.Errorf("list %d is still empty", i)
		}
	}
}

func TestKmeansCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v := clusters(rand.New(rand.NewPCG(4, 4)), 500, 8, 5, 1)
	if _, err := kmeans(ctx, rowsOf(v), 10, false, 1, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
}

// A rotation keeps inner products, and spreads a single component over all.
func TestRotation(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, d := range []int{16, 32, 48, 128, 144, 400, 768, 8192} {
		turn := newRotation(d, 9)
		a, b := make([]float32, d), make([]float32, d)
		for i := range a {
			a[i], b[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
		}
		dot := func() (s float64) {
			for i := range a {
				s += float64(a[i]) * float64(b[i])
			}
			return s
		}
		before, bound := dot(), 1e-5*Norm(a)*Norm(b)
		turn.apply(a)
		turn.apply(b)
		if after := dot(); math.Abs(after-before) > bound {
			t.Errorf("d=%d: the inner product was %v, and is %v", d, before, after)
		}
		clear(a)
		a[r.IntN(d)] = 1
		turn.apply(a)
		for i, x := range a {
			if math.Abs(float64(x)) > 8/math.Sqrt(float64(d)) {
				t.Errorf("d=%d: component %d of a rotated unit vector is %v", d, i, x)
			}
		}
		if n := Norm(a); math.Abs(n-1) > 1e-5 {
			t.Errorf("d=%d: the norm of a rotated unit vector is %v", d, n)
		}
	}
}
