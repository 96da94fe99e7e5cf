package ranks

import (
	"sync"

	"go.uber.org/zap"

	"dipls/internal/contain"
)

// notifier calls a function with every change of state, in order. It has a goroutine of its own, because whoever changes a state holds locks and must
// not wait for the function. It belongs to a node. It outlives the node if the node's pools have processes on other nodes that do.
type notifier struct {
	wake chan struct{} // cap 1: the queue has something, or closed is set
	done chan struct{} // the goroutine has ended

	mu      sync.Mutex
	queue   []notice
	holders int // how many may still post; the last one to leave sets closed
	closed  bool
}

// notice is a change to tell, or a channel to close when everything before it has been told.
type notice struct {
	change StateChange
	told   chan struct{}
}

// newNotifier starts the goroutine, with one holder. It ends when that one, and all that have joined, have left. If f is nil, there is no goroutine.
func newNotifier(f func(StateChange), log *zap.Logger) *notifier {
	n := &notifier{wake: make(chan struct{}, 1), done: make(chan struct{}), holders: 1}
	if f == nil {
		n.closed = true
		close(n.done)
		return n
	}
	go n.run(f, log)
	return n
}

func (n *notifier) post(c StateChange) { n.enqueue(notice{change: c}) }

// flush waits until everything that has been posted has been told.
func (n *notifier) flush() {
	told := make(chan struct{})
	if n.enqueue(notice{told: told}) {
		<-told
	}
}

func (n *notifier) enqueue(x notice) (ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.queue = append(n.queue, x)
	n.signal()
	return true
}

func (n *notifier) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notifier) run(f func(StateChange), log *zap.Logger) {
	defer close(n.done)
	for range n.wake {
		n.mu.Lock()
		queue, closed := n.queue, n.closed
		n.queue = nil
		n.mu.Unlock()
		for _, x := range queue {
			if x.told != nil {
				close(x.told)
			} else if fault := contain.Do(func() { f(x.change) }); fault != nil {
				log.Error("a fault of ours", zap.Any("panic", fault.Value), zap.ByteString("stack", fault.Stack))
			}
		}
		if closed {
			return
		}
	}
}

// join adds a holder. Another holder must not have left yet.
func (n *notifier) join() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holders++
}

// leave removes a holder, when everything that has been posted has been told. The last one to leave ends the goroutine.
func (n *notifier) leave() {
	n.flush()
	n.mu.Lock()
	n.holders--
	last := n.holders == 0
	if last {
		n.closed = true
		n.signal()
	}
	n.mu.Unlock()
	if last {
		<-n.done
	}
}
