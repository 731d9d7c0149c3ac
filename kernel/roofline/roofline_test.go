package roofline

import "testing"

func TestRead(t *testing.T) {
	// What is read can't be seen from here; that it stays in bounds can.
	for _, n := range []int{0, 1, 511, 512, 513, 1 << 16} {
		Read(make([]byte, n))
	}
}

func TestMultiplyAdd(t *testing.T) {
	one := MultiplyAdd(1)
	if one < 8 || MultiplyAdd(1000) != 1000*one || MultiplyAdd(0) != 0 {
		t.Errorf("one turn %d, a thousand %d, none %d", one, MultiplyAdd(1000), MultiplyAdd(0))
	}
}
