// Package neon is the kernel for 64-bit Arm with NEON, every such processor: Go
// assembly by hand, with the instructions that Go's assembler lacks in encode.h.
//
// Package kernel has checked every argument before it calls: lengths fit, and
// there is at least one row and one component.
package neon
