package lsp

import "sync"

// turns keeps commands in the order in which they came. The connection does that, too, but not for commands that wait for the client's settings: they let
// later messages be handled meanwhile.
type turns struct {
	mu   sync.Mutex
	last chan struct{} // closed when the last command that has come is done; nil: none has come
}

// take gives the next command its place. It may go on once before is closed, or at once if that is nil, and must call done then.
func (t *turns) take() (before <-chan struct{}, done func()) {
	own := make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.last
	t.last = own
	select {
	case <-last:
		last = nil
	default:
	}
	return last, sync.OnceFunc(func() { close(own) })
}
