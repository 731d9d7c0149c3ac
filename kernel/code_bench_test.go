package kernel

import (
	"fmt"
	"testing"

	"engram/kernel/roofline"
)

// codeStreams are blocks that lie in the second-level cache, and what streams
// through memory; BenchmarkCodeRead is the limit of BenchmarkCodeDot.
var codeStreams = []struct{ n, d int }{{1024, 128}, {256, 768}, {2 << 20, 128}, {256 << 10, 768}}

func benchmarkCodes(n, d int) []int8 {
	r := source(1)
	codes := make([]int8, n*d)
	for i := range codes {
		codes[i] = int8(r.IntN(255) - 127)
	}
	return codes
}

func BenchmarkCodeRead(b *testing.B) {
	for _, s := range codeStreams {
		b.Run(fmt.Sprintf("%d×%d", s.n, s.d), func(b *testing.B) {
			bytes := make([]byte, s.n*s.d)
			for i := range bytes {
				bytes[i] = byte(i)
			}
			b.SetBytes(int64(len(bytes)))
			for b.Loop() {
				roofline.Read(bytes)
			}
		})
	}
}

func BenchmarkCodeDot(b *testing.B) {
	for _, s := range codeStreams {
		b.Run(fmt.Sprintf("%d×%d", s.n, s.d), func(b *testing.B) {
			codes := benchmarkCodes(s.n, s.d)
			query, dst := make([]int16, s.d), make([]int32, min(s.n, 1024))
			for i := range query {
				query[i] = int16(i)
			}
			b.SetBytes(int64(len(codes)))
			for b.Loop() {
				for row := 0; row < s.n; row += len(dst) {
					CodeDot(dst, query, codes[row*s.d:], s.d)
				}
			}
		})
	}
}

// BenchmarkCodePanel is to be compared with BenchmarkPanelDot.
func BenchmarkCodePanel(b *testing.B) {
	for _, s := range []struct{ n, d int }{{192, 128}, {192, 768}} {
		b.Run(fmt.Sprintf("%d×%d", s.n, s.d), func(b *testing.B) {
			codes, panel := benchmarkCodes(s.n, s.d), make([]uint8, CodePanelLen(s.d))
			sums, dst := make([]int32, s.n), make([]int32, s.n*CodePanelWidth)
			done := 0
			for b.Loop() {
				CodePanelDot(dst, panel, codes, sums, s.d, s.n, s.d)
				done += s.n * s.d * CodePanelWidth
			}
			perSecond(b, done)
		})
	}
}
