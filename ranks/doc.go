// Package ranks runs Python processes: a node, the local namespace and the pool of ranks under it. It starts them, talks to them
// in the messages of [dipls/ranks/wire] and sees to it that nothing of them is left, whatever way they or the server end.
// docs/wire.md describes the messages and the start of a node; this comment holds the decisions on the server's side.
//
// # Who owns what
//
// A [Node] is one process in a session of its own, so without a terminal, with a pipe as its
// standard input, the lifeline. Its parent is a guard, the child of the server. Its ranks and its local namespace are its children, so it is the node that signals and reaps them; the server
// does that itself only if the node fails to, and then by pid and start time, never by name.
// A [Process] is one of these; a [Pool] is a generation of ranks.
//
// Each process has one socket, owned by a [link.Link] with two goroutines. The writer numbers, signs and writes what others queue, so
// nobody who sends waits for a peer. The reader verifies what comes and calls the handlers, so output is acknowledged
// when it has been handled, and a slow handler slows its own process down and no other. Beyond the links a node has
// three goroutines: one reaps its process, one reads what it prints, and one, supervise, waits for the node's end and for everything else,
// and closes Done last.
//
// # How a death is told
//
// A process is dead when the node says so (exited) and its socket has been read to the end. The node's word has the exit code or
// signal, and the output that was printed and not acknowledged. If the socket ends first, the
// reader waits for the word; if the word comes first, the reader reads what has arrived, and does not wait for an end of file,
// because a descendant of the dead process may hold the socket open. A process that lives but cannot be
// reached is killed. Then, in this order, its state changes, its handlers are told, and its Done is closed.
// The node's own death is the death of everything under it.
//
// # What may be left behind
//
// Nothing. A node ends when its lifeline does, kills its children and removes the runtime directory, so the server may be killed at any
// moment. The guard does the same for whatever the node has not: it is there before the directory and the node are, and everything under the node
// becomes its child at the latest when the node ends. If the guard is killed, the server ends what it adopts then ([AdoptOrphans]), or the node does. If all
// three are killed at once, the next server removes the directory, whose lock nobody holds any more, and ends what has the session's mark.
package ranks
