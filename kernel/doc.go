// Package kernel is Engram's arithmetic on blocks of vectors. It knows no index: it
// takes slices, and returns scores and sums.
//
// A block is n row vectors of d components in one slice, stride float32s from
// one row's start to the next, so row i is rows[i*stride : i*stride+d]. What
// lies between rows is never used. Nothing need be aligned. A slice too short
// for what is asked of it, or a stride below d, is a programmer's error and
// panics; nothing is read or written out of bounds.
//
// There are two arithmetics.
//
// The canonical one (Dot, DotAt, L2, L2At, SumSquares) is defined to the bit, so
// that an answer doesn't depend on the processor: 64 partial sums in float32,
// the i-th taking components i, i+64, … in order, each by one fused
// multiply-add, starting from +0; then sums of halves, s[i] += s[i+w] for w =
// 32, 16, … 1; then +0 is added, so no result is −0. Only which NaN a NaN is, is
// left open.
//
// The other is for panels: many queries at once, packed so that one row
// component meets W of them in one instruction. It is as fast as the processor
// multiplies and adds, and each function states the bound of its error, in which
// u = 2⁻²⁴ and γ_k = k·u/(1−k·u), as in Higham, Accuracy and Stability of
// Numerical Algorithms, §3.1. The bounds leave out underflow, which adds at most
// 2⁻¹⁴⁹ an operation.
//
// Rows also have a form of a quarter of the size: codes of 8 bits and a scale
// (Quantise, Decode). The inner product of codes and a query's codes of 16 bits
// (CodeDot) is exact, whatever the processor; CodeSelect turns it into a bound of
// the row's score and names the rows worth scoring.
//
// And they have two forms of half the size, IEEE 754's binary16 and bfloat16. They are
// decoded a few rows at a time, for the functions of float32 (DecodeF16, DecodeBF16), so
// the canonical score of such a row is that of its decoded vector.
//
// Each instruction set is a package of its own under internal; purego is both
// the form for other processors and the reference. The set is chosen once, at
// start: the widest the processor and the system support, or the one that the
// environment's ENGRAM_KERNEL names (purego, avx2, avx512, neon). The build tag
// purego leaves all assembly out.
package kernel
