package main

import (
	"fmt"
	"sort"
	"time"

	"engram/kernel"
	"engram/kernel/roofline"
	"unsafe"
)

func main() {
	for _, s := range []struct{ n, d int }{{262144, 128}, {49152, 768}} {
		rows := make([]float32, s.n*s.d)
		for i := range rows {
			rows[i] = float32(i%97) * 0.01
		}
		b := unsafe.Slice((*byte)(unsafe.Pointer(&rows[0])), len(rows)*4)
		q, dst, sum, ss := make([]float32, s.d), make([]float32, s.n), make([]float64, s.d), make([]float64, s.n)
		copy(q, rows)
		fs := map[string]func(){
			"read": func() { roofline.Read(b) },
			"dot":  func() { kernel.Dot(dst, q, rows, s.d) },
			"l2":   func() { kernel.L2(dst, q, rows, s.d) },
			"wsum": func() { kernel.WeightedSum(sum, dst, rows, s.d) },
			"sq":   func() { kernel.SumSquares(ss, rows, s.d, s.d) },
		}
		names := []string{"read", "dot", "l2", "wsum", "sq"}
		t := map[string][]float64{}
		for range 25 {
			for _, n := range names {
				a := time.Now()
				fs[n]()
				t[n] = append(t[n], float64(len(b))/time.Since(a).Seconds()/1e9)
			}
		}
		for _, n := range names {
			sort.Float64s(t[n])
			fmt.Printf("%dx%d %-5s median %.2f best %.2f GB/s\n", s.n, s.d, n, t[n][12], t[n][24])
		}
	}
}
