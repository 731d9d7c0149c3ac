// Package filter decides which records of a segment a typed filter lets through.
//
// A [Filter] is a tree of conditions on a record's fields and metadata. [Filter.Match]
// tests one record; [Filter.Select] narrows a bitmap of rows, with the help of an
// [Index] where that is cheaper than testing each row. The two always agree.
//
// Metadata is kept in the wire form that [EncodeMetadata] gives, and is read in place:
// a test neither allocates nor builds a structpb message.
package filter
