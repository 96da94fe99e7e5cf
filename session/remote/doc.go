// Package remote is [session.API] over a Unix socket: a [Server] in the process of the session, and a [Client] in each front.
//
// # Messages
//
// JSON-RPC 2.0, each message with a Content-Length header as in LSP's base protocol. A client's first request is "hello"; then each method of the API is a
// request: "session/start" and so on. "$/cancelRequest" says that the context of a call has ended, "ping" asks for a sign of life while a call waits. The
// server sends notifications: "events", with their positions in the session's log, "question", which comes to one front, "changed", after which "about" has
// something new to say of the clients, the name, or how long the session is kept, and "ended", with the reason, before it ends the connection. "hello",
// "about" and "stop" keep their form for ever, so that a client can tell what it has found, and end it.
//
// # Versions
//
// Peers of one major version understand each other: what one of them does not know it ignores, or refuses with an error that names what is missing.
//
// # Events
//
// The server records what the session tells in a [history.Log], and sends it to each client once. The client records it in a mirror, on which the
// subscriptions of its front are cursors. An answer comes after the events that happened before it. No client is waited for: one that reads too slowly misses
// output, and is told so.
//
// # Who may
//
// Only processes of the same user, which both sides ask the kernel for. A question goes to the connection whose call has caused it, and only that one may
// answer. If it has gone, the question's default is the answer, and that is kept as a log event for whoever comes next.
package remote
