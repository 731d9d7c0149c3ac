package slab

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestClassesCoverEverySize(t *testing.T) {
	for n := 1; n <= maxClass; n++ {
		c := classOf(n)
		if sizeOf(c) < n || c > 0 && sizeOf(c-1) >= n {
			t.Fatalf("classOf(%d) = %d, of %d bytes; the class below has %d", n, c, sizeOf(c), sizeOf(max(c-1, 0)))
		}
	}
	if got := sizeOf(classes - 1); got != maxClass {
		t.Errorf("the last class has %d bytes, want %d", got, maxClass)
	}
	for c := range classes {
		size := sizeOf(c)
		if size%unit != 0 {
			t.Errorf("class %d has %d bytes, no multiple of %d", c, size, unit)
		}
		span := int(spanPages[c]) * pageSize
		if span > arenaSize/2 || span/size > maxBlocks || span%size > span/16 {
			t.Errorf("class %d of %d bytes has spans of %d bytes", c, size, span)
		}
	}
}

func TestAlloc(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		p := newPool(1 << 30)
		p.guard = guarded
		var blocks [][]byte
		total := int64(0)
		for _, n := range []int{1, 63, 64, 65, 2080, 4096, 4097, 65536, 65537, 80 << 10, 1 << 20, 1<<20 + 1, 2 << 20, 5<<20 + 3} {
			b, err := p.Alloc(n)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) != n || cap(b) != ClassSize(n) || address(b)%64 != 0 {
				t.Fatalf("Alloc(%d): len %d, cap %d, address %#x", n, len(b), cap(b), address(b))
			}
			total += int64(cap(b))
			if p.InUse() != total {
				t.Fatalf("Alloc(%d): InUse %d, want %d", n, p.InUse(), total)
			}
			b = b[:cap(b)]
			if bytes.Count(b, []byte{0}) != len(b) {
				t.Fatalf("Alloc(%d) is not zeroed", n)
			}
			for i := range b {
				b[i] = byte(n)
			}
			blocks = append(blocks, b)
		}
		for _, b := range blocks {
			p.Free(b)
		}
		if p.InUse() != 0 {
			t.Errorf("InUse %d after all is freed", p.InUse())
		}
		if p.Mapped() > arenaSize {
			t.Errorf("Mapped %d after all is freed, want one arena at most", p.Mapped())
		}
	}
}

// Blocks never overlap and come zeroed whatever the history; the books
// balance; what is freed goes back.
func TestPoolAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(64 << 20)
		type block struct {
			b    []byte
			mark byte
		}
		var live []block
		used := int64(0)
		sizes := rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(1, 2<<20))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(live) == 0 || rapid.IntRange(0, 2).Draw(t, "op") > 0 {
				n := sizes.Draw(t, "n")
				b, err := p.Alloc(n)
				if size := int64(ClassSize(n)); used+size > p.Limit() {
					if !errors.Is(err, ErrBudget) {
						t.Fatalf("Alloc(%d) over the limit: %v", n, err)
					}
					continue
				} else if err != nil {
					t.Fatal(err)
				} else {
					used += size
				}
				if bytes.Count(b, []byte{0}) != n {
					t.Fatalf("Alloc(%d) is not zeroed", n)
				}
				mark := byte(len(live) + 1)
				for i := range b {
					b[i] = mark
				}
				live = append(live, block{b, mark})
			} else {
				i := rapid.IntRange(0, len(live)-1).Draw(t, "free")
				if bytes.Count(live[i].b, []byte{live[i].mark}) != len(live[i].b) {
					t.Fatal("a block was overwritten by another")
				}
				used -= int64(cap(live[i].b))
				p.Free(live[i].b)
				live[i] = live[len(live)-1]
				live = live[:len(live)-1]
			}
			if p.InUse() != used {
				t.Fatalf("InUse %d, want %d", p.InUse(), used)
			}
		}
		for _, l := range live {
			p.Free(l.b)
		}
		if p.InUse() != 0 || p.Mapped() > arenaSize {
			t.Fatalf("after all is freed: InUse %d, Mapped %d", p.InUse(), p.Mapped())
		}
	})
}

func TestBudget(t *testing.T) {
	p := newPool(10000)
	b, err := p.Alloc(5000) // class 5120
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Alloc(5000)
	if !errors.Is(err, ErrBudget) {
		t.Fatalf("got %v, want ErrBudget", err)
	}
	for _, part := range []string{"5000", "5120", "10000"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q doesn't name %s", err, part)
		}
	}
	p.Free(b)
	if b, err = p.Alloc(5000); err != nil {
		t.Fatal(err)
	}
	p.Free(b)
}

func TestFreePanics(t *testing.T) {
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	p := newPool(1 << 30)
	keep, _ := p.Alloc(100) // so that the span stays
	small, _ := p.Alloc(100)
	p.Free(small)
	panics("small twice", func() { p.Free(small) })
	panics("inside a block", func() { p.Free(keep[64:]) })
	large, _ := p.Alloc(3 << 20)
	p.Free(large)
	panics("large twice", func() { p.Free(large) })
	panics("Go memory", func() { p.Free(make([]byte, 64)) })
	panics("nil", func() { p.Free(nil) })
	panics("zero bytes", func() { _, _ = p.Alloc(0) })
	p.Free(keep)
	panics("in a freed span", func() { p.Free(keep) })
}

func TestConcurrentUse(t *testing.T) {
	p := newPool(1 << 30)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			var live [][]byte
			for range 2000 {
				if len(live) < 20 && r.IntN(2) == 0 {
					b, err := p.Alloc(1 + r.IntN(1<<(4+r.IntN(14))))
					if err != nil {
						t.Error(err)
						return
					}
					b[0], b[len(b)-1] = byte(g+1), byte(g+1)
					live = append(live, b)
				} else if n := len(live); n > 0 {
					b := live[n-1]
					if b[0] != byte(g+1) || b[len(b)-1] != byte(g+1) {
						t.Error("a block was overwritten by another goroutine")
					}
					p.Free(b)
					live = live[:n-1]
				}
			}
			for _, b := range live {
				p.Free(b)
			}
		})
	}
	wg.Wait()
	if p.InUse() != 0 {
		t.Errorf("InUse %d after all is freed", p.InUse())
	}
}

// A million small blocks leave next to nothing on the Go heap.
func TestBookkeepingIsSmall(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	p := newPool(1 << 30)
	before := heap()
	const n = 1_000_000
	for range n {
		if _, err := p.Alloc(64); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > n {
		t.Errorf("%d blocks took %d bytes of Go heap, want under one each", n, grown)
	}
	if over := p.Mapped() - p.InUse(); over > 2*arenaSize {
		t.Errorf("%d bytes mapped beyond those in use", over)
	}
	for i, a := range p.arenas {
		if a != nil {
			unmap(a.mem)
			p.arenas[i] = nil
		}
	}
}

func TestSlice(t *testing.T) {
	p := newPool(1 << 20)
	b, _ := p.Alloc(64)
	f := Slice[float32](b)
	f[15] = 1
	if len(f) != 16 || b[63] != 0x3f {
		t.Errorf("Slice isn't the block: %d floats, last byte %#x", len(f), b[63])
	}
	if Slice[uint64](nil) != nil {
		t.Error("no bytes are not nil")
	}
	for name, f := range map[string]func(){
		"length":    func() { Slice[uint64](b[:12]) },
		"alignment": func() { Slice[uint64](b[4:12]) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("misfit by %s: no panic", name)
				}
			}()
			f()
		}()
	}
	p.Free(b)
}

// A read after Free faults in a guarded pool. The read is a subprocess's.
func TestGuardFaults(t *testing.T) {
	if os.Getenv("SLAB_TEST_STRAY_READ") == "1" {
		p := NewPool(1 << 30)
		b, err := p.Alloc(100)
		if err != nil {
			t.Fatal(err)
		}
		b[7] = 42
		p.Free(b)
		if c, err := p.Alloc(100); err != nil || address(c) == address(b) {
			t.Fatalf("the address was reused (%v)", err)
		}
		os.Stdout.WriteString("before the read\n")
		t.Logf("read %d", b[7])
		os.Stdout.WriteString("after the read\n")
		return
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "js" || runtime.GOOS == "wasip1" || runtime.GOOS == "plan9" {
		t.Log("no mprotect on this system: freed blocks are filled with 0xff")
		p := NewGuardedPool(1 << 20)
		b, _ := p.Alloc(100)
		p.Free(b)
		if b[7] != 0xff {
			t.Error("a freed block keeps its data")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestGuardFaults$")
	cmd.Env = append(os.Environ(), "SLAB_TEST_STRAY_READ=1", "ENGRAM_SLAB_GUARD=1")
	out, err := cmd.CombinedOutput()
	before := bytes.Contains(out, []byte("before the read"))
	after := bytes.Contains(out, []byte("after the read"))
	fault := bytes.Contains(out, []byte("unexpected fault address"))
	if err == nil || !before || after || !fault {
		t.Errorf("a read after Free went through (%v):\n%s", err, out)
	}
}
