// Package index searches and attends over segments of vectors outside the Go
// heap. It knows no record: a row is a number, a filter is a bitmap.
//
// Search gives the exact top K by the kernel's canonical scores, so that its
// answer has the same bits for any number of workers, any batch and any
// instruction set. Attend gives softmax(q·Kᵀ·scale)·V in one pass, within the
// bounds stated there. Both walk blocks of rows that fit a core's second-level
// cache, on several cores where the work is worth it, and stop within a block
// when their context ends.
//
// An IVF covers the first rows of segments with codes in lists, and SearchIVF looks
// into those near a query: it may miss some of the top K, and what it finds has the
// same canonical scores. A Calibration tells how many lists give a recall.
package index
