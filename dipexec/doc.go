// Package dipexec runs code on the local namespace and on the ranks, and publishes what happens. It knows processes by the
// [Process] and [Pool] interfaces. Everybody else knows runs by their [event.Event]s: the terminal, the language
// server and the journal are three views of them. docs/events.md describes the events.
//
// # Runs
//
// A [Request] is a snapshot: later changes of the file do not reach the run. [Executor.Start] returns an id;
// everything else is told by events, and [Executor.Wait] gives a [event.Report] at the end.
//
// There are two namespaces, the local one and the ranks, and each is a queue: first come, first served, one run at a time. A
// run on some of the ranks queues for all of them, since its code may wait for the others in a collective. Runs on the two
// namespaces may overlap. A run that goes everywhere takes a place in both queues at once, runs locally, leaves that
// queue, and then runs on the ranks. If it fails locally, the ranks do not run it: each of them would only report the same
// failure, and the namespaces would differ afterwards. A run that does not say where it goes has places in both queues
// until its turn in the local namespace comes. Then autodip decides, as the cells before it have left it.
//
// Runs that are started as a sequence have their ids and places from the start, and each also waits for the one before it. After the
// first that fails the others are skipped, unless they are to go on.
//
// A request may have something else than code: variables to move, a pool to make, a file to write or read, GPU memory to free. It takes its turn, and
// publishes events, like a cell.
//
// Each run has one goroutine, which takes it through its life (queued, running, perhaps interrupting, ended) and owns it. What
// the processes say is handled by whoever reads their links, so nothing is queued in between: a message
// is journaled and offered to the subscribers before the process that sent it is told that its output has arrived.
//
// A run that is cancelled is interrupted; if its code then ends in any exception, the run counts as interrupted. Code that
// does not react is reported and waited for, since only the user can know whether it is worth killing. It is given up
// in three cases only: the run's time is over, another rank has died, or the executor is closed.
//
// When a rank dies, its process group is broken, and ranks that wait for it may wait for ever. The others get a moment to
// fail by themselves, which tells the user more. Then they are interrupted.
//
// # Ranks that wait for each other
//
// No interrupt reaches a rank that waits in a collective, and a rank that has missed one would pair its next with another's last. So the ranks
// are kept in step. What they report about their collectives is judged by package diagnose, which asks nobody. Here is who asks, and who acts:
//
//   - hang.go checks a long run on the ranks, and tells who waits for whom. standstill.go tells of processes that cannot say anything themselves.
//   - free.go follows an interrupt: it breaks the process groups of ranks that wait, so that whatever waits in them raises.
//   - mend.go forms broken groups anew. After an interrupt it does so before the end of the run is told.
//   - step.go checks before a run whether the ranks are in step, and has them mended if they are not.
//
// # Commands
//
// While a cell runs in the local namespace, it may ask for what only the server can do: push and pull variables, make a pool,
// run code on the ranks, switch autodip. Such a command comes as a message of that process and is served by a goroutine of its
// own, since the reader must not wait. If it needs the ranks it queues for them at its cell's place: the comment of queue
// shows why no two can wait for each other. Code that a command runs is a run like any other, except that it has a parent.
//
// # What code asks
//
// `input()` and `getpass()` wait for the server, which asks whoever can type (input.go). Ranks that ask the same at about the same time share one
// question. It is told by events, answered by [Executor.AnswerInput], and withdrawn once the process waits no more or has ended.
//
// # Output
//
// The journal keeps the bytes that a process prints; events have them as text. A [event.Subscription] holds a
// bounded amount: its reader is waited for as long as it reads, and otherwise misses output. A [view.Folder] turns the events into what a
// person wants to see of many ranks that print nearly the same.
//
// # Locks
//
// Locks are taken in this order; whoever holds one takes only later ones:
//
//  1. process.mu: what a process says, from when it is journaled until it is published. Held while a subscriber is waited for.
//  2. Executor.mu: runs, processes, commands and their places. Held for moments only.
//  3. inputs.mu: what a run's code asks the user. Then run.order: as process.mu, for events of the run that come from no process.
//  4. queue.mu, Executor.poolMu and rescue.mu, of which nobody holds two.
//  5. Those of the packages below: of a journal's recorder and of its store, of the bus, of a subscription.
//
// Everything else of a run belongs to its goroutine. A part belongs to the goroutine that tells what happens in it, which is the reader of its
// process, until it sends its outcome to the run: see part.send.
package dipexec
