// Package rpc is the connection to one client: LSP's base protocol on a stream of bytes, the order in which messages are handled, what waits to be
// written, calls to the client, and what LSP has for talking to its user. It knows nothing of documents, runs and features.
//
//	stream    bytes ⇄ messages; what cannot be read is refused and skipped
//	outbox    what waits to be written; never blocks those who write
//	Conn      serves the client's requests in order, answers, cancels, calls the client
//	Client    messages and questions for the user, refreshes, progress
//
// It is built on the messages of jsonrpc2, without that library's own connection: what LSP asks of one (an order, with requests that leave it; cancelling;
// bounds for a client that does not read; a fault of ours that costs one request) had to be built around it, and results of megabytes went through it
// as copies.
package rpc
