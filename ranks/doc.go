// Package ranks runs Python processes: a node, the local namespace and the pool of ranks under it. It starts them, talks to them
// in the messages of [dipls/ranks/wire] and sees to it that nothing of them is left, whatever way they or the server end.
// docs/wire.md describes the messages and the start of a node; this comment holds the decisions on the server's side.
//
// # Who owns what
//
// A [Node] is one process that its host, a [host.Host], has started and guards. The node's ranks and its local namespace are its children, so it is
// the node that signals and reaps them; the server has the host do that only if the node fails to, and then by pid and start time, never by name.
// A [Process] is one of these; a [Pool] is a generation of ranks.
//
// Each process has one socket, owned by a [link.Link] with two goroutines. The writer numbers, signs and writes what others queue, so
// nobody who sends waits for a peer. The reader verifies what comes and calls the handlers, so output is acknowledged
// when it has been handled, and a slow handler slows its own process down and no other. Beyond the links a node has
// two goroutines: one waits for the end of its process, and one, supervise, has the host clean up then, waits for everything else, and closes
// Done last.
//
// # How a death is told
//
// A process is dead when the node says so (exited) and its socket has been read to the end. The node's word has the exit code or
// signal, and the output that was printed and not acknowledged. If the socket ends first, the
// reader waits for the word; if the word comes first, the reader reads what has arrived, and does not wait for an end of file,
// because a descendant of the dead process may hold the socket open. A process that lives but cannot be
// reached is killed. Then, in this order, its state changes, its handlers are told, and its Done is closed.
// The node's own death is the death of everything under it.
package ranks
