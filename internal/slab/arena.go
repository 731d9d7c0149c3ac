package slab

import (
	"fmt"
	"math/bits"
)

const (
	hugePage   = 2 << 20
	systemPage = 64 << 10 // mappings are whole multiples; no system's pages are larger
	pageSize   = 64 << 10
	arenaPages = 64 // a word of bits
	arenaSize  = arenaPages * pageSize
	maxBlocks  = pageSize / unit // most blocks in a span
)

// A spanRef names a span: the arena's index times arenaPages plus its first
// page.
type spanRef int32

const noSpan spanRef = -1

// A span is a run of pages that holds blocks of one class.
type span struct {
	class      uint8
	pages      uint8 // 0: no span starts at this page
	listed     bool  // in its class's list of spans with room
	used       uint16
	blocks     uint16
	next, prev spanRef
	taken      [maxBlocks / 64]uint64 // a bit a block
}

// An arena is a mapping whose address is a multiple of its size.
type arena struct {
	mem   []byte
	busy  uint64            // a bit a page
	open  bool              // in Pool.open
	first [arenaPages]uint8 // a page's span's first page
	spans [arenaPages]span  // by first page
}

func (p *Pool) span(r spanRef) *span {
	return &p.arenas[r/arenaPages].spans[r%arenaPages]
}

// takeSmall returns a free block of the class, not cleared. The pool is locked.
func (p *Pool) takeSmall(class int) ([]byte, error) {
	r := p.rooms[class]
	if r == noSpan {
		var err error
		if r, err = p.newSpan(class); err != nil {
			return nil, err
		}
	}
	s := p.span(r)
	w := 0
	for s.taken[w] == ^uint64(0) {
		w++
	}
	i := w*64 + bits.TrailingZeros64(^s.taken[w])
	s.taken[w] |= 1 << (i % 64)
	s.used++
	if s.used == s.blocks {
		p.unlist(r, s)
	}
	size := sizeOf(class)
	start := int(r%arenaPages)*pageSize + i*size
	return p.arenas[r/arenaPages].mem[start : start+size : start+size], nil
}

// freeSmall marks the block at an address free and returns its size. The pool
// is locked.
func (p *Pool) freeSmall(at uintptr) int {
	base := at &^ (arenaSize - 1)
	index, ok := p.byBase[base]
	if !ok {
		panic(fmt.Sprintf("slab: Free of %#x, which is no live block", at))
	}
	a := p.arenas[index]
	offset := int(at - base)
	page := offset / pageSize
	r := spanRef(int(index)*arenaPages + int(a.first[page]))
	s := p.span(r)
	if a.busy>>page&1 == 0 || s.pages == 0 {
		panic(fmt.Sprintf("slab: Free of %#x, which is no live block", at))
	}
	size := sizeOf(int(s.class))
	inSpan := offset - int(a.first[page])*pageSize
	i := inSpan / size
	if inSpan%size != 0 || i >= int(s.blocks) || s.taken[i/64]>>(i%64)&1 == 0 {
		panic(fmt.Sprintf("slab: Free of %#x, which is no live block", at))
	}
	s.taken[i/64] &^= 1 << (i % 64)
	s.used--
	if s.used == 0 {
		if s.listed {
			p.unlist(r, s)
		}
		p.freeSpan(index, int(a.first[page]))
	} else if !s.listed {
		p.list(r, s)
	}
	return size
}

func (p *Pool) list(r spanRef, s *span) {
	head := p.rooms[s.class]
	s.listed, s.next, s.prev = true, head, noSpan
	if head != noSpan {
		p.span(head).prev = r
	}
	p.rooms[s.class] = r
}

func (p *Pool) unlist(r spanRef, s *span) {
	if s.prev == noSpan {
		p.rooms[s.class] = s.next
	} else {
		p.span(s.prev).next = s.next
	}
	if s.next != noSpan {
		p.span(s.next).prev = s.prev
	}
	s.listed = false
}

// newSpan carves a span for the class out of the first arena with enough free
// pages in a row, and lists it.
func (p *Pool) newSpan(class int) (spanRef, error) {
	pages := int(spanPages[class])
	index, page := int32(-1), 0
	for i := 0; i < len(p.open); i++ {
		a := p.arenas[p.open[i]]
		if a.busy == ^uint64(0) {
			a.open = false
			p.open[i] = p.open[len(p.open)-1]
			p.open = p.open[:len(p.open)-1]
			i--
			continue
		}
		if at := freeRun(a.busy, pages); at >= 0 {
			index, page = p.open[i], at
			break
		}
	}
	if index < 0 {
		var err error
		if index, err = p.newArena(); err != nil {
			return noSpan, err
		}
	}
	if index == p.spare {
		p.spare = -1
	}
	a := p.arenas[index]
	a.busy |= (1<<pages - 1) << page
	for i := range pages {
		a.first[page+i] = uint8(page)
	}
	r := spanRef(int(index)*arenaPages + page)
	s := p.span(r)
	*s = span{class: uint8(class), pages: uint8(pages), blocks: uint16(pages * pageSize / sizeOf(class))}
	p.list(r, s)
	return r, nil
}

// freeRun returns where n clear bits in a row start, or -1.
func freeRun(busy uint64, n int) int {
	free := ^busy
	for i := 1; i < n && free != 0; i++ {
		free &= free >> 1
	}
	if free == 0 {
		return -1
	}
	return bits.TrailingZeros64(free)
}

func (p *Pool) freeSpan(index int32, page int) {
	a := p.arenas[index]
	s := &a.spans[page]
	a.busy &^= (1<<s.pages - 1) << page
	s.pages = 0
	if !a.open {
		a.open = true
		p.open = append(p.open, index)
	}
	if a.busy != 0 {
		return
	}
	// One free arena is kept, or a block that comes and goes would map and
	// unmap one each time.
	if p.spare < 0 {
		p.spare = index
		return
	}
	for i, o := range p.open {
		if o == index {
			p.open = append(p.open[:i], p.open[i+1:]...)
			break
		}
	}
	delete(p.byBase, address(a.mem))
	p.arenas[index] = nil
	p.vacant = append(p.vacant, index)
	p.mapped.Add(-arenaSize)
	unmap(a.mem)
}

func (p *Pool) newArena() (int32, error) {
	mem, err := mapMemory(arenaSize, true)
	if err != nil {
		return 0, err
	}
	a := &arena{mem: mem, open: true}
	var index int32
	if n := len(p.vacant); n > 0 {
		index = p.vacant[n-1]
		p.vacant = p.vacant[:n-1]
		p.arenas[index] = a
	} else {
		index = int32(len(p.arenas))
		p.arenas = append(p.arenas, a)
	}
	p.byBase[address(mem)] = index
	p.open = append(p.open, index)
	p.mapped.Add(arenaSize)
	return index, nil
}
