// Package session is one user's work in one folder, and all that a front needs to know of it: [API].
//
// A [Session] owns what runs and what it runs on: an executor with its journal, autodip, and the processes (a node, its local namespace and its
// pool), which are started when they are first needed, with the settings of the call that needs them. The command line has one session for
// each dipls run; a language server has one for each folder.
//
// # What is started, and when
//
// Node, local namespace and pool are a future each: whoever needs one first begins it, and all who need it wait for the same one. It belongs to the
// session, not to who began it, so that somebody who gives up leaves it going for the others. Only what Make starts ends with Make's
// context, because there its user has said "stop".
//
// # What is never done silently
//
// Variables live in processes, and a process that is replaced has lost them. So a pool that has died, that was ended by %makedip -k or
// that could not be made stays that way, and says so to whoever asks for its ranks, until somebody asks for a new one; a pool of another
// kind takes a living one's place only if its user adds -r. One case is exempt, because nothing is lost: a pool that was
// started ahead of time, from the defaults, and that nobody has used or asked for.
package session
