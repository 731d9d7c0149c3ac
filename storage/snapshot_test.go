package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/DataDog/zstd"
	"github.com/cespare/xxhash/v2"

	"engram/index"
	"engram/internal/slab"
	"engram/memory"
)

var update = flag.Bool("update", false, "write the golden files anew")

// stopped is a clock that stands still.
type stopped struct{}

func (stopped) Now() time.Time { return time.Unix(1_700_000_000, 123).UTC() }

func newDB(t testing.TB) *memory.DB {
	t.Helper()
	ids := 0
	db := memory.New(memory.Options{
		Pool: slab.NewPool(1 << 30), Clock: stopped{}, Limits: memory.DefaultLimits(), Log: slog.New(slog.DiscardHandler),
		NewID: func() string { ids++; return fmt.Sprintf("made-%d", ids) },
	})
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func openDir(t testing.TB, path string) *Dir {
	t.Helper()
	d, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Clock: stopped{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// fill stores some of everything: each metric, values, replaced and deleted
// records, a remembered request, a namespace that takes several frames.
func fill(t testing.TB, db *memory.DB, large int) {
	t.Helper()
	ctx := context.Background()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(db.CreateNamespace(ctx, &memory.CreateNamespace{Config: memory.Config{Name: "dot", Metric: index.Dot, Dimension: 3, ValueDimension: 2, MaxBytes: 1 << 20}}))
	must(db.CreateNamespace(ctx, &memory.CreateNamespace{Config: memory.Config{Name: "empty", Metric: index.L2, Dimension: 5, ValueDimension: 5}}))
	put := func(id, text string, key, value []float32) memory.Put {
		return memory.Put{Record: memory.Record{
			ID: id, Text: text, Key: key, Value: value, Session: "s1", Speaker: "CDR", Metadata: []byte("\n\x0b\n\x01a\x12\x06\x1a\x04blue"),
			Time: -5, Importance: 0.25,
		}, HasTime: true, HasImportance: true}
	}
	must(db.Store(ctx, &memory.Store{Namespace: "dot", Records: []memory.Put{
		put("a", "first", []float32{1, 2, 3}, []float32{4, 5}),
		put("b", "", []float32{-1, 0, 1e-40}, []float32{6, 7}),
	}, RequestID: "r1", Digest: sha256.Sum256([]byte("body"))}))
	must(db.Store(ctx, &memory.Store{Namespace: "dot", Records: []memory.Put{put("a", "second", []float32{3, 2, 1}, []float32{0, 0})}}))
	must(db.Store(ctx, &memory.Store{Namespace: "text", Records: []memory.Put{
		{Record: memory.Record{Text: "ünïcode", Key: []float32{0, 1}, KeyFromText: true}},
		{Record: memory.Record{ID: "gone", Key: []float32{1, 0}}},
	}, Embedder: &memory.EmbedderID{Name: "e", Version: "1", Dimension: 2}}))
	must(db.Delete(ctx, &memory.Delete{Namespace: "text", IDs: []string{"gone"}}))
	for n := 0; n < large; n += 500 {
		s := &memory.Store{Namespace: "large"}
		for i := range 500 {
			key := make([]float32, 64)
			for j := range key {
				key[j] = float32((n+i)*(j+7)%101) - 50
			}
			s.Records = append(s.Records, memory.Put{Record: memory.Record{ID: fmt.Sprint(n + i), Key: key, Text: strings.Repeat("word ", i%40)}})
		}
		must(db.Store(ctx, s))
	}
}

// dump writes everything that is logical state.
func dump(db *memory.DB) string {
	var b strings.Builder
	db.Views(func(v *memory.View) bool {
		fmt.Fprintf(&b, "namespace %+v lsn %v count %d\n", v.Config(), v.LSN(), v.Count())
		for _, r := range v.Requests() {
			fmt.Fprintf(&b, "  request %+v\n", r)
		}
		v.Records(func(r *memory.Record) bool {
			fmt.Fprintf(&b, "  %+v\n", *r)
			return true
		})
		return true
	})
	return b.String()
}

// snapshotOf gives the path of a snapshot of a filled DB, and the dump of that.
func snapshotOf(t testing.TB, large int) (dir, file, want string) {
	t.Helper()
	db := newDB(t)
	fill(t, db, large)
	dir = t.TempDir()
	d := openDir(t, dir)
	info, err := d.Snapshots(db).Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, info.File), dump(db)
}

func restoreDir(t testing.TB, dir string) (string, memory.SnapshotInfo, error) {
	t.Helper()
	db := newDB(t)
	d := openDir(t, dir)
	defer func() { _ = d.Close() }()
	info, _, err := d.Restore(context.Background(), db)
	return dump(db), info, err
}

func TestRoundTrip(t *testing.T) {
	for _, large := range []int{0, 10_000} {
		dir, file, want := snapshotOf(t, large)
		got, info, err := restoreDir(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("restored:\n%.2000s\nstored:\n%.2000s", got, want)
		}
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.File != filepath.Base(file) || info.Bytes != st.Size() || info.Records != 3+large {
			t.Errorf("info %+v of a file of %d bytes with %d records", info, st.Size(), 3+large)
		}
	}
}

// A write after a restore has an LSN of a new epoch, whether or not the one before
// left a snapshot.
func TestEpochs(t *testing.T) {
	dir := t.TempDir()
	seen := map[uint64]bool{}
	for range 4 {
		db := newDB(t)
		d := openDir(t, dir)
		if _, _, err := d.Restore(context.Background(), db); err != nil {
			t.Fatal(err)
		}
		r, err := db.Store(context.Background(), &memory.Store{Namespace: "n", Records: []memory.Put{{Record: memory.Record{ID: "a", Key: []float32{1}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if seen[r.LSN.Epoch()] {
			t.Fatalf("epoch %d was used before", r.LSN.Epoch())
		}
		seen[r.LSN.Epoch()] = true
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A damaged file is told as such, wherever the damage is, and nothing of it is
// restored.
func TestEveryByteFlipped(t *testing.T) {
	dir, file, _ := snapshotOf(t, 0)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := append([]byte(nil), whole...)
		bad[i] ^= 1 << (i % 8)
		expectDamage(t, dir, file, bad, fmt.Sprintf("byte %d of %d flipped", i, len(whole)))
	}
}

func TestEveryTruncation(t *testing.T) {
	dir, file, _ := snapshotOf(t, 0)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		expectDamage(t, dir, file, whole[:n], fmt.Sprintf("cut to %d of %d bytes", n, len(whole)))
	}
}

func expectDamage(t *testing.T, dir, file string, content []byte, what string) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	got, _, err := restoreDir(t, dir)
	var d *Damage
	if !errors.As(err, &d) {
		t.Fatalf("%s: %v", what, err)
	}
	if d.File != filepath.Base(file) || got != "" {
		t.Fatalf("%s: damage in %q; restored %q", what, d.File, got)
	}
}

func TestNewerVersion(t *testing.T) {
	dir, file, _ := snapshotOf(t, 0)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	le.PutUint32(b[8:], version+1)
	le.PutUint64(b[32:], xxhash.Sum64(b[:32]))
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	// An older one that is whole must not be used instead.
	if err := os.WriteFile(filepath.Join(dir, snapshotName(1)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := restoreDir(t, dir); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 2") {
		t.Fatal(err)
	}
}

// reseal makes a snapshot of one frame with the given lengths and data, every
// checksum being right.
func reseal(raw uint32, data []byte) []byte {
	b := header{lsn: 1, time: 1}.bytes()
	lengths := le.AppendUint32(le.AppendUint32(nil, raw), uint32(len(data)))
	sum := frameSum(lengths, data)
	b = append(b, le.AppendUint64(lengths, sum)...)
	b = append(b, data...)
	f := footer{frames: []frameRef{{headerSize, sum}}}
	return append(b, f.bytes(int64(len(b)))...)
}

func TestBomb(t *testing.T) {
	packed, err := zstd.CompressLevel(nil, make([]byte, 100<<20), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"unpacks to more than it says": reseal(1000, packed),
		"says more than is allowed":    reseal(100<<20, packed),
		"says 4 GiB":                   reseal(1<<32-1, packed),
		"says more than there is":      reseal(maxRaw, packed[:50]),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			expectDamage(t, dir, filepath.Join(dir, snapshotName(1)), file, name)
		})
	}
}

func TestFallback(t *testing.T) {
	db := newDB(t)
	fill(t, db, 0)
	dir := t.TempDir()
	d := openDir(t, dir)
	s := d.Snapshots(db)
	var files, dumps []string
	for i := range 4 {
		info, err := s.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		files, dumps = append(files, info.File), append(dumps, dump(db))
		if _, err := db.Store(context.Background(), &memory.Store{Namespace: "more", Records: []memory.Put{{Record: memory.Record{ID: fmt.Sprint(i), Key: []float32{1}}}}}); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := d.snapshots(); err != nil || len(names) != Kept || names[0] != files[3] || names[1] != files[2] {
		t.Fatalf("kept %v of %v (%v)", names, files, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	newest := filepath.Join(dir, files[3])
	b, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(newest, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, info, err := restoreDir(t, dir)
	if err != nil || info.File != files[2] || got != dumps[2] {
		t.Fatalf("restored %q (%v)", info.File, err)
	}
	if _, err := os.Stat(newest + ".damaged"); err != nil {
		t.Error("the damaged file was not set aside:", err)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir)
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir)
}

func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, ".snapshot-0000000000000001.engram123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Snapshots are taken while writes go on: each namespace is whole as of its LSN.
func TestWhileWriting(t *testing.T) {
	db := newDB(t)
	dir := t.TempDir()
	d := openDir(t, dir)
	s := d.Snapshots(db)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// Both records of a batch always have the same text.
				text := fmt.Sprint(i)
				puts := []memory.Put{{Record: memory.Record{ID: "x", Key: []float32{1}, Text: text}}, {Record: memory.Record{ID: "y", Key: []float32{1}, Text: text}}}
				if _, err := db.Store(context.Background(), &memory.Store{Namespace: fmt.Sprint("n", w), Records: puts}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	busy := 0
	for range 10 {
		if _, err := s.Snapshot(context.Background()); errors.Is(err, memory.ErrSnapshotBusy) {
			busy++
		} else if err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	restored := newDB(t)
	d = openDir(t, dir)
	if _, _, err := d.Restore(context.Background(), restored); err != nil {
		t.Fatal(err)
	}
	restored.Views(func(v *memory.View) bool {
		var texts []string
		v.Records(func(r *memory.Record) bool { texts = append(texts, strings.Clone(r.Text)); return true })
		if len(texts) != 2 || texts[0] != texts[1] {
			t.Errorf("%s: %v", v.Config().Name, texts)
		}
		return true
	})
}

// Every version's golden file is read, by this server and all later ones.
func TestGolden(t *testing.T) {
	const name = "v1"
	file, text := filepath.Join("testdata", name+".engram"), filepath.Join("testdata", name+".txt")
	if *update {
		_, made, want := snapshotOf(t, 0)
		b, err := os.ReadFile(made)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(file, b, 0o600), os.WriteFile(text, []byte(want), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, snapshotName(memory.MakeLSN(1, 6))), b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, _, err := restoreDir(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("restored:\n%s\nwant:\n%s", got, want)
	}
}

// FuzzFrame restores any bytes as a frame's data: an error or not, never a panic.
func FuzzFrame(f *testing.F) {
	_, file, _ := snapshotOf(f, 0)
	s, err := openSnapshot(file)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := s.frame(0, &buffers{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte{3, 1, 'n', 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	db := newDB(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := db.Restore()
		defer r.Abort()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		cancel() // parts that wait for an earlier frame end at once
		re := &restorer{snapshot: &snapshot{file: "fuzz", footer: footer{frames: []frameRef{{}}}}, to: r}
		_ = re.frame(ctx, raw, 0) // what it says is the other tests' matter
	})
}
