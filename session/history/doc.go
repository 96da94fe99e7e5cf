// Package history records what a session has told, so that whoever comes back can read what was missed.
//
// A [Log] keeps events in one order, each with a position. A [Cursor] is one reader's place in it. A reader never slows the writer: output that is not read
// in time is dropped, the oldest first, and the reader is told by a log event how much of whom it has missed and which journal has it. All else that was told
// of a kept run is kept.
//
// The process of a session keeps one, and each of its clients keeps a mirror of it.
package history
