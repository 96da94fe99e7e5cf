// Package session is one user's work in one folder, and everything that a front needs to know of it: [API].
//
// A [Session] owns an executor with its journal, autodip, and the processes: a node, its local namespace and its pool. They are started when
// they are first needed, with the settings of the call that needs them. It belongs to one front, as that of dipls run does, and ends with it; or it lives
// in a process of its own, to which fronts attach, and outlives them.
//
// # What is started, and when
//
// Node, local namespace and pool are a future each: the first call that needs one begins it, and all that need it wait for the same one. It belongs
// to the session, not to that call: if the call is given up, the start goes on for the others. Only what Make starts ends with Make's
// context, because there the user has said "stop".
//
// # What is never done silently
//
// Variables live in processes, and are lost when a process is replaced. So a pool that has died, that was ended by %makedip -k, or
// that could not be made stays that way until somebody asks for a new one, and says so to whoever asks for its ranks. A pool of another
// kind replaces a living one only with -r. There is one exception, because nothing is lost: a pool that was
// started ahead of time, from the defaults, and that nobody has used or asked for.
package session
