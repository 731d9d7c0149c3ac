// Package slab gives out memory outside the Go heap, so that the garbage
// collector has nothing to walk however many vectors are stored.
//
// A [Pool] maps arenas of 4 MiB and carves them into spans of 64 KiB pages;
// a span holds blocks of one size class and a bitmap of those in use. Blocks
// above 1 MiB have a mapping of their own. The bookkeeping is a bit a block
// and about 10 KiB an arena, all found from a block's address: nothing on the
// Go heap grows with the number of small blocks.
//
// Nothing here counts references. Whoever frees a block answers for it that
// no reader is left; a guarded pool ([NewGuardedPool], or ENGRAM_SLAB_GUARD=1
// in the environment) makes a mistake fault at once.
package slab

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"
)

// ErrBudget says that a block would take the pool over its limit. The error
// that wraps it says what was asked, what is in use and the limit, in bytes.
var ErrBudget = errors.New("slab: memory budget exhausted")

// A Pool hands out blocks within a limit of bytes. It is safe for concurrent
// use.
type Pool struct {
	limit int64
	*books
}

// books are what a pool has given out, whatever the limit.
type books struct {
	inUse  atomic.Int64
	mapped atomic.Int64
	guard  bool

	mu     sync.Mutex
	arenas []*arena           // by index; nil where one was given back
	vacant []int32            // indexes of nil arenas
	byBase map[uintptr]int32  // an arena's address to its index
	open   []int32            // arenas that may have free pages
	rooms  [classes]spanRef   // per class, the first span with a free block
	large  map[uintptr][]byte // blocks with their own mapping, by address
	spare  int32              // an arena wholly free that is kept, or -1
}

// NewPool returns a pool that has at most limit bytes in blocks at any time,
// each charged at its size class. With ENGRAM_SLAB_GUARD=1 in the environment
// it is a guarded pool.
func NewPool(limit int64) *Pool {
	if os.Getenv("ENGRAM_SLAB_GUARD") == "1" {
		return NewGuardedPool(limit)
	}
	return newPool(limit)
}

// NewGuardedPool returns a pool for tests: each block is a mapping of its
// own, which Free makes inaccessible for good, so that any later use of it
// faults. Address space is never reused: not for production.
func NewGuardedPool(limit int64) *Pool {
	p := newPool(limit)
	p.guard = true
	return p
}

func newPool(limit int64) *Pool {
	p := &Pool{limit: limit, books: &books{
		byBase: make(map[uintptr]int32),
		large:  make(map[uintptr][]byte),
		spare:  -1,
	}}
	for c := range p.rooms {
		p.rooms[c] = noSpan
	}
	return p
}

// Beyond returns the same pool with a limit higher by extra bytes. It is for what frees
// more than it takes, or can't be refused.
func (p *Pool) Beyond(extra int64) *Pool { return &Pool{p.limit + extra, p.books} }

// Limit returns the most bytes that may be in use.
func (p *Pool) Limit() int64 { return p.limit }

// InUse returns the bytes in blocks, each at its size class.
func (p *Pool) InUse() int64 { return p.inUse.Load() }

// Mapped returns the bytes mapped from the operating system, used or not.
func (p *Pool) Mapped() int64 { return p.mapped.Load() }

// Alloc returns a block of n > 0 bytes, zeroed, aligned to 64 bytes; its
// capacity is the size class. It fails with [ErrBudget] before any memory is
// taken if the class doesn't fit the limit, and with the system's error if
// that has no memory.
func (p *Pool) Alloc(n int) ([]byte, error) {
	if n <= 0 {
		panic(fmt.Sprintf("slab: Alloc of %d bytes", n))
	}
	size := ClassSize(n)
	if err := p.charge(n, size); err != nil {
		return nil, err
	}
	b, err := p.take(size)
	if err != nil {
		p.inUse.Add(-int64(size))
		return nil, fmt.Errorf("slab: no memory for a block of %d bytes: %w", n, err)
	}
	return b[:n:size], nil
}

func (p *Pool) charge(n, size int) error {
	for {
		used := p.inUse.Load()
		if int64(size) > p.limit-used {
			return fmt.Errorf("%w: a block of %d bytes (%d with its size class) on top of %d in use exceeds the limit of %d", ErrBudget, n, size, used, p.limit)
		}
		if p.inUse.CompareAndSwap(used, used+int64(size)) {
			return nil
		}
	}
}

// take returns a zeroed block of a class's size.
func (p *Pool) take(size int) ([]byte, error) {
	if p.guard || size > maxClass {
		b, err := mapMemory(roundUp(size, systemPage), size >= hugePage && !p.guard)
		if err != nil {
			return nil, err
		}
		p.mapped.Add(int64(len(b)))
		p.mu.Lock()
		p.large[address(b)] = b[:size]
		p.mu.Unlock()
		return b[:size], nil
	}
	p.mu.Lock()
	b, err := p.takeSmall(classOf(size))
	p.mu.Unlock()
	clear(b)
	return b, err
}

// Free takes back a block that Alloc gave; b starts where that did. Freeing
// twice, or what isn't a block, panics.
func (p *Pool) Free(b []byte) {
	if cap(b) == 0 {
		panic("slab: Free of no block")
	}
	if own := p.release(b); own != nil {
		p.freeLarge(own)
	}
}

// release takes a block off the books, and returns it if its mapping is to go.
func (p *Pool) release(b []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := address(b)
	if own, ok := p.large[at]; ok {
		delete(p.large, at)
		return own
	}
	p.inUse.Add(-int64(p.freeSmall(at)))
	return nil
}

// freeLarge takes back a block of len(b) bytes in a mapping of cap(b).
func (p *Pool) freeLarge(b []byte) {
	mapping := b[:cap(b)]
	if p.guard {
		// The address stays taken, so that no later block can hide a stray read.
		retire(mapping)
	} else {
		unmap(mapping)
	}
	p.mapped.Add(-int64(len(mapping)))
	p.inUse.Add(-int64(len(b)))
}

// Slice returns b's bytes as a []T in place. T holds no pointers: the garbage
// collector doesn't see slabs. It panics if b isn't whole Ts, aligned for T.
func Slice[T any](b []byte) []T {
	var t T
	size := int(unsafe.Sizeof(t))
	if len(b) == 0 {
		return nil
	}
	if size == 0 || len(b)%size != 0 || address(b)%unsafe.Alignof(t) != 0 {
		panic(fmt.Sprintf("slab: %d bytes at %#x are no slice of %T", len(b), address(b), t))
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/size)
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }
