// Package session is the Python side of one user's work: a node, its local namespace and its pool.
//
// A [Session] is what an executor runs on: it is its dipexec.Pool, which gives it the processes and starts them when they are first
// needed, and its dipexec.Manager, which does what %makedip asks for. The command line has one for each dipls run; a
// language server has one for each file that it serves.
//
// # What is started, and when
//
// Each of the three is a future: whoever needs it first begins it, and all who need it wait for the same one. It belongs to the
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
