// Package lsp is the language server: it translates between LSP and the packages that know cells and run them. [Serve] serves one editor; the sessions of
// its folders are handed in, and outlive it: those that live in processes of their own outlive the program, too.
//
// Below everything here lie the connection (lsp/rpc) and the documents (lsp/docs). On them stand, from the bottom up:
//
//   - stores: the board (what is known of runs and pools), the marks (what there is to say at places in documents), the settings, and the words for
//     outcomes of runs (outcome.go);
//   - commands: rows of a table (commands.go), each a method of the server. A command may use stores and other commands;
//   - features: one thing each that the server does for an editor, in files of its own (lens.go, lens_list.go). [features] is their table.
//
// A feature is a constructor that returns what the server calls it for: requests, changes, events. It may use the client, documents, stores and
// commands, and keeps what only it needs. It never calls another feature, and nothing calls it; TestFeaturesKeepApart holds that. What two features need
// belongs below them: in a store, if it is knowledge or marks; in docs, if it follows from the text alone; in outcome.go, if it is words.
//
// Problems, failures, hangs and the output of cells are features over the marks: each leaves marks of its own kind there, and the store shows them as
// diagnostics. Code actions read the same store for what may be done about a mark.
//
// Lock order: those of features, the announcer's and marks.mu first; under them, one at a time, server.mu and those of settings, board and documents. The
// documents may ask the board for what it knows of a cell. board.order is taken while none of them is held; it is held while a session starts runs. While one
// of them is held, nothing is asked of a session.
package lsp
