package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/DataDog/zstd"

	"engram/embed"
	"engram/internal/slab"
	"engram/memory"
)

// BenchmarkLevel compresses and decompresses a snapshot's frames on one core, at levels
// of zstd, and tells their size as a part of the vectors' (docs/decisions/0007).
func BenchmarkLevel(b *testing.B) {
	for _, c := range []struct {
		name string
		rows int
		put  func(r *rand.Rand) memory.Put
	}{
		{"random/50k×128", 50_000, func(r *rand.Rand) memory.Put { return memory.Put{Record: memory.Record{Key: randomKey(r, 128)}} }},
		{"random+text/20k×768", 20_000, func(r *rand.Rand) memory.Put {
			return memory.Put{Record: memory.Record{Key: randomKey(r, 768), Text: sentence(r)}}
		}},
		{"lexical+text/20k×512", 20_000, lexicalPut(b)},
	} {
		frames, floats := framesFor(b, c.rows, c.put)
		size := int64(0)
		for _, raw := range frames {
			size += int64(len(raw))
		}
		for _, level := range []int{1, 2, 3} {
			packed := make([][]byte, len(frames))
			b.Run(fmt.Sprintf("%s/compress/level=%d", c.name, level), func(b *testing.B) {
				b.SetBytes(size)
				n := 0
				for b.Loop() {
					n = 0
					for i, raw := range frames {
						var err error
						if packed[i], err = zstd.CompressLevel(packed[i], raw, level); err != nil {
							b.Fatal(err)
						}
						n += len(packed[i])
					}
				}
				b.ReportMetric(float64(n)/float64(floats), "of-vectors")
				b.ReportMetric(float64(size)/float64(floats), "raw-of-vectors")
			})
			b.Run(fmt.Sprintf("%s/decompress/level=%d", c.name, level), func(b *testing.B) {
				to := make([]byte, maxRaw)
				b.SetBytes(size)
				for b.Loop() {
					for i, p := range packed {
						if _, err := zstd.DecompressInto(to[:len(frames[i])], p); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// framesFor gives the frames of a namespace of so many records, and their vectors' bytes.
func framesFor(b *testing.B, rows int, put func(*rand.Rand) memory.Put) (frames [][]byte, floats int) {
	db := memory.New(memory.Options{Pool: slab.NewPool(4 << 30)})
	r := rand.New(rand.NewPCG(1, 2))
	for from := 0; from < rows; from += 100 {
		puts := make([]memory.Put, 100)
		for i := range puts {
			puts[i] = put(r)
			puts[i].ID = fmt.Sprint("record-", from+i)
		}
		if _, err := db.Store(b.Context(), &memory.Store{Namespace: "x", Records: puts}); err != nil {
			b.Fatal(err)
		}
	}
	v, err := db.View("x")
	if err != nil {
		b.Fatal(err)
	}
	w := &frameWriter{next: func() []byte { return nil }, emit: func(raw []byte) error {
		frames = append(frames, slices.Clone(raw))
		return nil
	}}
	if _, err := w.namespace(v); err != nil {
		b.Fatal(err)
	}
	if err := w.flush(); err != nil {
		b.Fatal(err)
	}
	floats = 4 * rows * v.Config().Dimension
	v.Release()
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return frames, floats
}

func randomKey(r *rand.Rand, dim int) []float32 {
	key := make([]float32, dim)
	for i := range key {
		key[i] = float32(r.NormFloat64())
	}
	return key
}

// sentence makes some ten words, of which some are frequent.
func sentence(r *rand.Rand) string {
	var s strings.Builder
	for range 8 + r.IntN(8) {
		word := rand.New(rand.NewPCG(uint64(min(r.IntN(5000), r.IntN(5000), r.IntN(5000))), 0))
		for range 2 + word.IntN(7) {
			s.WriteByte("etaoinshrdlucmfwypvbgkjqxz"[min(word.IntN(26), word.IntN(26))])
		}
		s.WriteByte(' ')
	}
	return s.String()
}

func lexicalPut(b *testing.B) func(*rand.Rand) memory.Put {
	e, err := embed.NewLexical(512)
	if err != nil {
		b.Fatal(err)
	}
	return func(r *rand.Rand) memory.Put {
		text := sentence(r)
		keys, err := e.Embed(b.Context(), []string{text}, false)
		if err != nil {
			b.Fatal(err)
		}
		return memory.Put{Record: memory.Record{Key: keys[0], Text: text}}
	}
}
