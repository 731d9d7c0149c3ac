package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/DataDog/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"engram/memory"
	"engram/memory/lexical"
)

// A block's length is as long as it must be.
func TestAppendBlock(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16383, 16384} {
		b := appendBlock([]byte{7}, func(b []byte) []byte { return append(b, strings.Repeat("x", n)...) })
		if want := append([]byte{7}, protowire.AppendString(nil, strings.Repeat("x", n))...); string(b) != string(want) {
			t.Errorf("a block of %d bytes begins with %x, want %x", n, b[:min(8, len(b))], want[:min(8, len(want))])
		}
	}
}

// What a configuration and a mutation have more comes back as it was.
func TestMoreComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weight := rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(0, 1e6))
		r := memory.Ranking{
			Similarity: weight.Draw(t, "similarity"), Lexical: weight.Draw(t, "lexical"),
			Association: weight.Draw(t, "association"), Mention: weight.Draw(t, "mention"), Kin: weight.Draw(t, "kin"),
			Retention: weight.Draw(t, "retention"), Importance: weight.Draw(t, "importance"),
			Fusion: memory.Fusion(rapid.IntRange(0, 1).Draw(t, "fusion")),
		}
		keep := memory.RetentionOf(time.Duration(rapid.Int64Range(int64(time.Second), int64(1000*time.Hour)).Draw(t, "half-life")))
		keep.Growth = rapid.Float64Range(1, 100).Draw(t, "growth")
		keep.MinInterval = time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "min interval"))
		want := memory.Config{Name: "n", Dimension: 2, ValueDimension: 2, Ranking: r, Retention: keep, Lexical: lexical.Analysis(rapid.IntRange(0, 2).Draw(t, "lexical")), Repeats: rapid.Float64Range(0, 1).Draw(t, "repeats"), MaxRecords: rapid.Int64Range(0, memory.MaxRecords).Draw(t, "max records"), Eviction: memory.Eviction(rapid.IntRange(0, 3).Draw(t, "eviction"))}
		c := cursor{b: appendConfig(nil, &want), version: version}
		if got := c.config("n"); c.err != nil || got != want || c.off != len(c.b) {
			t.Fatalf("%+v comes back as %+v: %v", want, got, c.err)
		}
		var rehearsals []memory.Rehearsal
		for _, id := range slices.Sorted(slices.Values(rapid.SliceOfDistinct(rapid.StringN(1, 9, -1), rapid.ID).Draw(t, "ids"))) {
			rehearsals = append(rehearsals, memory.Rehearsal{ID: id, Time: rapid.Int64().Draw(t, "time"), Count: rapid.Uint32Min(1).Draw(t, "count")})
		}
		m, err := mutationOf(&journalFrame{data: appendMutation(nil, &memory.Mutation{Namespace: "n", Ranking: &r, Retention: &keep, Rehearsals: rehearsals, Repeats: &want.Repeats, MaxRecords: &want.MaxRecords, Eviction: &want.Eviction})})
		if err != nil || *m.Ranking != r || *m.Retention != keep || *m.Repeats != want.Repeats || *m.MaxRecords != want.MaxRecords || *m.Eviction != want.Eviction || !slices.Equal(m.Rehearsals, rehearsals) || m.KeyEncoding != nil || m.ValueEncoding != nil {
			t.Fatalf("%+v comes back as %+v: %v", r, m.Ranking, err)
		}
		rec := memory.Record{ID: "a", Key: []float32{1}, Rehearsed: memory.Rehearsed{
			Last: rapid.Int64().Draw(t, "last"), Grown: rapid.Int64().Draw(t, "grown"), Count: rapid.Uint32Min(1).Draw(t, "count"), Growths: rapid.Uint16().Draw(t, "growths"),
		}}
		c = cursor{b: appendRecord(nil, &rec), version: version}
		var got memory.Record
		if c.record(&got, nil, nil, &memory.Config{Dimension: 1}); c.err != nil || got.Rehearsed != rec.Rehearsed || c.off != len(c.b) {
			t.Fatalf("%+v comes back as %+v: %v", rec, got, c.err)
		}
	})
}

// unknown is a block with a field that no version has.
var unknown = appendBlock(nil, func(b []byte) []byte { return appendNumber(b, 1000, 1) })

// unknownMutation is a mutation of namespace n with such a block.
func unknownMutation() []byte {
	b := appendMutation(nil, &memory.Mutation{Namespace: "n"})
	b[0] |= mutationEncodings
	at := len(b) - 2 // the counts of deletes and changes
	return append(append(b[:at:at], append([]byte{sameKeys, sameKeys}, unknown...)...), 0, 0)
}

// A field that isn't known is a newer version's; what can't be a block is a mistake.
func TestMoreOfNewer(t *testing.T) {
	head := []byte{configMore | 1} // metric and flags
	for name, c := range map[string]struct {
		block []byte
		newer bool
	}{
		"unknown": {unknown, true},
		"of a ranking": {appendBlock(nil, func(b []byte) []byte {
			return append(protowire.AppendTag(b, moreRanking, protowire.BytesType), unknown...)
		}), true},
		"of another type":   {[]byte{2, byte(moreRanking) << 3, 1}, false},
		"twice":             {[]byte{4, byte(moreLexical) << 3, 1, byte(moreLexical) << 3, 2}, false},
		"too short":         {[]byte{9, byte(moreLexical) << 3}, false},
		"a cut tag":         {[]byte{1, 0x80}, false},
		"a value behind it": {[]byte{1, byte(moreLexical) << 3, 1, 1, 1, 1, 1, 1}, false},
		"no length":         {[]byte{0xff}, false},
		"a huge length":     {protowire.AppendVarint(nil, 1<<40), false},
	} {
		cur := cursor{b: append(append([]byte{}, head...), c.block...), version: version}
		cur.config("n")
		if cur.err == nil || errors.Is(cur.err, ErrNewer) != c.newer {
			t.Errorf("%s: %v", name, cur.err)
		}
	}
	rec := appendRecord(nil, &memory.Record{ID: "a", Key: []float32{1}})
	rec[0] |= recordMore
	cur := cursor{b: append(rec, unknown...), version: version}
	var got memory.Record
	if cur.record(&got, nil, nil, &memory.Config{Dimension: 1}); !errors.Is(cur.err, ErrNewer) {
		t.Errorf("a record: %v", cur.err)
	}
	if _, err := mutationIn("s", &journalFrame{data: unknownMutation()}); !errors.Is(err, ErrNewer) || damaged(err) {
		t.Errorf("a mutation: %v", err)
	}
}

// A snapshot with what a newer version wrote is refused, and no older one is used instead.
func TestSnapshotOfNewer(t *testing.T) {
	dir := t.TempDir()
	raw := []byte{chunkFirst | chunkLast}
	raw = appendString(raw, "n")
	raw = append(raw, 0, configMore)
	raw = append(raw, unknown...)
	packed, err := zstd.CompressLevel(nil, raw, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, snapshotName(1)), reseal(uint32(len(raw)), packed), 0o600); err != nil {
		t.Fatal(err)
	}
	d := openDir(t, dir)
	defer func() { _ = d.Close() }()
	if _, err := d.Recover(context.Background(), newDB(t)); !errors.Is(err, ErrNewer) || damaged(err) || !strings.Contains(err.Error(), snapshotName(1)) {
		t.Fatal(err)
	}
}
