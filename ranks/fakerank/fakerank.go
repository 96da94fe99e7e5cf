// Package fakerank is a node with ranks without Python, for tests: quick, with canned answers, and able to misbehave in every way that
// a Python process might.
//
// There are two ways to have one. A [Host] is a machine whose nodes and ranks are goroutines of the test. Or the node is a process, for which a
// test binary plays itself: TestMain calls [Main] first, and the tests start nodes with [Command] as the command line. The ranks of such a node are
// goroutines, so a thousand of them cost little, or processes, where a real pid matters.
//
// The code of an execute_request is a list of commands, one a line, with any number of spaces before it:
//
//	print TEXT            print a line; also stderr TEXT
//	write TEXT            print without an end of line
//	result TEXT           an execute_result of type text/plain
//	display MIME DATA     a display_data
//	say TYPE CONTENT      send a message
//	wrong                 what no Python would compile: a check_request finds it
//	error NAME MESSAGE    raise: an error message, and the end of this execution
//	surroundings JSON     send the message surroundings
//	inherited             print the surroundings that it got: at the start; and later
//	pid, rank, env NAME   print the process id, the rank, a variable of the environment
//	argv                  print the arguments of cells, and the columns of the screen; with "N" once these are N
//	spec                  print other parts of its spawn_request: app, verbose, free_gpu
//	seed                  print its seed, or null
//	wait                  until interrupted, which raises KeyboardInterrupt
//	gate NAME             until the test opens that gate: see [Host.Open]; or until interrupted
//	hold NAME             likewise, but interrupts are acknowledged and change nothing
//	on RANKS COMMAND      the command, if it is one of these ranks; "local" is the local namespace
//	draw TEXT             write TEXT, a string as Go has it, such as "\r 50%"
//	let NAME TEXT         bind a variable, a string, which lookups then find
//	stuck                 for ever: interrupts are acknowledged and change nothing
//	mute                  answer nothing any more
//	stubborn              ignore shutdown_request, SIGINT and SIGTERM from here on
//	flood BYTES           print that much in pieces of 64 KiB
//	big BYTES             print that much in one message
//	later TEXT            print a line after the reply
//	tail TEXT             print a line that stays unsent: only the tail of an exit brings it
//	exit CODE             end with an exit code
//	signal NAME           end by a signal
//	vanish                close the connection, but live
//	linger CODE           end with an exit code, but leave the connection open, as a descendant that inherited it would
//	half                  send half a message, then end with exit code 1
//	garbage               write bytes that are not ZMTP
//	long                  announce a frame of 2^40 bytes
//	command               send a ZMTP command
//	badsig TEXT           a stream message with a wrong signature
//	session TEXT          a stream message of another session
//	replay TEXT           a stream message, twice
//	malformed             a message that is not a Jupyter message
//	again TEXT            a stream message that repeats the bytes of the one before and adds TEXT
//	vars                  print the names of the variables that were pushed
//	bound                 print the names of all variables, such as [x y]
//	held                  print how many payloads have not been released, and how many variables wait for push_commit
//	input PROMPT          ask for a line, and print it; also getpass PROMPT. Fails with NoKeyboardError or EOFError as Python's does
//	ask JSON              send a command_request, print the command_reply to it, and send command_end; if interrupted, send command_end
//	                      and go on waiting
//
// Three of the magics are commands, too: %dipush with names, %autodip on or off, and %makedip alone.
//
// A command that fails does so in its line of the file. Lookups are answered from the variables that were bound or pushed.
//
// An execute_request with a transfer gives the command push or pull, and fails as that does.
//
// A push_request, pull_request or app_request succeeds unless a variable, or the app, is called
//
//	missing   NameError
//	slow      wait until interrupted, which raises KeyboardInterrupt
//	late      wait until interrupted, and succeed all the same
//	stuck     never answer; interrupts are acknowledged and change nothing
//	tardy     answer the second interrupt, as if nothing had happened
//	fatal     end with exit code 9
//	rubbish   an answer that is not what it should be
//	loud      an app that has a notice to give
package fakerank

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"syscall"
)

// Config says how a node behaves; the zero value behaves well.
type Config struct {
	Processes bool `json:",omitempty"` // ranks are processes, not goroutines

	Name     string            `json:",omitempty"` // of the machine; "": fake
	Packages map[string]string `json:",omitempty"` // of its interpreter, besides the usual ones or in their place

	// At the start.
	Missing    []string `json:",omitempty"` // import names of packages that are not there
	StartError string   `json:",omitempty"` // not ready, for this reason
	StartExit  int      `json:",omitempty"` // exit with this code instead of being ready
	StartHang  bool     `json:",omitempty"` // never say anything
	BadHello   bool     `json:",omitempty"` // speak garbage on the node's socket

	// As a nursery.
	ForkUnsafe    string   `json:",omitempty"` // why a fork is not safe
	PreloadFailed []string `json:",omitempty"` // modules that cannot be imported
	SpawnError    string   `json:",omitempty"` // answer spawn_request with this error
	Imports       bool     `json:",omitempty"` // read no more messages after the first preload_request or spawn_request

	// Of its ranks, by rank.
	JoinError map[int]string `json:",omitempty"` // hello fails with this message
	JoinExit  map[int]int    `json:",omitempty"` // hello ends the process with this code
	JoinHang  []int          `json:",omitempty"` // hello is never answered
	JoinPrint string         `json:",omitempty"` // printed by every process as it joins
	Stubborn  []int          `json:",omitempty"` // ignore shutdown_request, SIGINT and SIGTERM

	Device  string           `json:",omitempty"` // of hello_reply; "": "cpu"
	Notices map[int][]string `json:",omitempty"` // likewise

	// At the end.
	Deaf bool `json:",omitempty"` // ignore shutdown_request, signal_request, SIGTERM and the end of the lifeline
}

// packages are what the interpreter has.
func (c Config) packages() map[string]string {
	has := map[string]string{"ipython": "99.0", "pyzmq": "99.0", "cloudpickle": "99.0", "torch": "99.0"}
	maps.Copy(has, c.Packages)
	return has
}

// The first argument that makes a test binary a node or a rank.
const (
	nodeArg = "fakerank-node"
	rankArg = "fakerank-rank"
)

// Command is the command line of a node that behaves like that.
func Command(c Config) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	config, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return []string{exe, nodeArg, string(config)}
}

// Main plays a node or a rank if this process was started as one, and does not return then. TestMain calls it before anything else.
func Main() {
	if len(os.Args) < 2 {
		return
	}
	var err error
	switch os.Args[1] {
	case nodeArg:
		err = runNode(os.Args[2])
	case rankArg:
		err = runRankProcess()
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fakerank:", err)
		exit(1)
	}
	exit(0)
}

// exit ends the process without the second that the race detector waits in os.Exit.
func exit(code int) { syscall.Exit(code) }
