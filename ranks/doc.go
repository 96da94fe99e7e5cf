// Package ranks runs Python processes: nodes, the local namespace, and pools of ranks. It starts them, talks to them in the messages of
// [dipls/ranks/wire], and makes sure that nothing of them is left, whatever way they or the server end. docs/wire.md describes the messages and
// the start of a node. This comment holds the decisions on the server's side.
//
// # Who owns what
//
// A [Node] is a process that its host, a [host.Host], has started and guards. Ranks and the local namespace are children of their node: the node
// signals and reaps them. Only if it fails to, the server asks the host to kill them, by pid and start time, never by name. A [Process] is a rank or a
// local namespace. A [Pool] is the ranks of one start, on one node or several.
//
// Each process has one socket, owned by a [link.Link], in which senders never wait for a peer. Its reader decodes what the process says ([Happening])
// and calls the handlers, so output is acknowledged when it has been handled, and a slow handler slows down only its own process. Besides, a node has
// two goroutines. wait waits for the end of the node's process. supervise then has the host clean up, waits for everything else, and closes Done.
//
// # How a death is told
//
// A process is dead when the node has said so (exited) and its socket has been read to the end. The node's message has the exit code or signal, and
// the output that was printed but not acknowledged. If the socket ends first, the reader waits for that message. If the message comes first, the
// reader reads what has arrived; it does not wait for an end of file, because a descendant of the dead process may hold the socket open. A process
// that lives but cannot be reached is killed. Then, in this order, its state changes, its handlers are told, and its Done is closed. When a node
// dies, everything under it dies.
package ranks
