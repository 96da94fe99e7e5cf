// Package paced tells of the progress of writes to somebody who may be slow to read.
package paced

import "io"

// pieceBytes is how much a reader has to take before it counts as progress: little enough that one who takes tens of kilobytes a second
// shows some every second, and enough that a write costs little beside the copying.
const pieceBytes = 16 << 10

// Writer returns a writer that writes to w in pieces and calls progress after each.
func Writer(w io.Writer, progress func()) io.Writer { return &writer{w, progress} }

type writer struct {
	w        io.Writer
	progress func()
}

func (p *writer) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		m, err := p.w.Write(b[:min(len(b), pieceBytes)])
		n += m
		if err != nil {
			return n, err
		}
		p.progress()
		b = b[m:]
	}
	return n, nil
}
