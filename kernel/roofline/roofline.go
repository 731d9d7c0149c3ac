// Package roofline measures what the machine allows, for benchmarks to be held
// against: how fast one thread reads memory, and how many float32 multiply-adds
// it does. Both use the instruction set that package kernel uses.
package roofline
