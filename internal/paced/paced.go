// Package paced reports progress while writing to a reader that may be slow.
package paced

import "io"

// pieceBytes is how much a reader has to take before that counts as progress. It is small enough that a reader of tens of kilobytes a second
// shows progress every second, and large enough that the extra writes cost little.
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
