package lsp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"dipls/internal/ranklist"
	"dipls/lsp/rpc"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
)

// Command is a row of the table of commands. Capabilities, dispatch and documentation are made from it.
type Command struct {
	Name   string       // without "dip."
	Title  string       // for people to choose it by
	Doc    string       // what it does; sentences in Markdown
	Reply  string       // what it answers, as an example
	Args   reflect.Type // the struct of its arguments
	Answer reflect.Type // the struct of what it answers

	waits bool // it may take long; later messages are handled meanwhile. The others run in the order of the messages
	run   func(s *server, ctx context.Context, raw json.RawMessage) (any, error)
}

// commandPrefix is what all commands' names begin with.
const commandPrefix = settingsSection + "."

// commands are all commands.
var commands = []Command{
	define("runCell", "Run cell",
		"Runs a cell as it is now. The cell itself says where, unless `target` does.",
		`{"run": "3f9a2c-1"}`, (*server).runCell),
	define("runAbove", "Run cells above",
		"Runs the code cells above a cell, without it, one after the other, up to the first that fails.",
		`{"run": "3f9a2c-1", "cells": 3}`, (*server).runAbove),
	define("runBelow", "Run cell and below",
		"Runs a cell and those below it, one after the other, up to the first that fails.",
		`{"run": "3f9a2c-1", "cells": 3}`, (*server).runBelow),
	define("runAll", "Run all cells",
		"Runs all cells of a document, one after the other, up to the first that fails.",
		`{"run": "3f9a2c-1", "cells": 3}`, (*server).runAll),
	define("runDocuments", "Run documents",
		"Runs all cells of several documents, such as those that are the cells of a notebook, one after the other, up to the first that fails. "+
			"`runs` has, for each document, the runs of its cells that have code.",
		`{"runs": [["3f9a2c-1"], [], ["3f9a2c-2", "3f9a2c-3"]]}`, (*server).runDocuments),
	define("runSelection", "Run selection",
		"Runs the lines of a range, or the selected text if it is within one line, where their cell would run.",
		`{"run": "3f9a2c-1"}`, (*server).runSelection),
	define("runCode", "Run code",
		"Runs code that is in no document, such as what was typed at a prompt. `target` says where, unless the code itself does by a directive.",
		`{"run": "3f9a2c-1"}`, (*server).runCode),
	waiting(define("complete", "Complete code",
		"Says how code that is in no document may go on, from the namespaces that live and are idle. It starts nothing. `replaces` is the end of the code "+
			"in whose place a match stands.",
		`{"replaces": "la", "matches": [{"text": "layers", "kind": "instance"}]}`, (*server).completeCode)),
	define("runLine", "Run line magic",
		"Runs the line magic on a line, such as `# %dipush x`, in the local namespace.",
		`{"run": "3f9a2c-1"}`, (*server).runMagicLine),
	define("makePool", "Make pool",
		"Makes a pool, as `%makedip` does, once earlier runs have ended. Arguments that are left out are as for the previous pool, or as the settings say.",
		`{"run": "3f9a2c-1"}`, (*server).makePool),
	waiting(define("restartPool", "Restart pool",
		"Interrupts what runs on the ranks, ends them and starts new ones of the same kind. It answers when they are ready.",
		`{"text": "pool of 2 ranks on the CPU over gloo, app torch, ready in 0.4 s"}`, (*server).restartPool)),
	waiting(define("killPool", "End pool",
		"Interrupts what runs on the ranks and ends them.",
		`{"text": "the pool of 2 ranks has ended"}`, (*server).killPool)),
	waiting(define("restartLocal", "Restart local namespace",
		"Interrupts what runs in the local namespace and replaces the namespace by a fresh one.",
		`{}`, (*server).restartLocal)),
	waiting(define("restart", "Restart Python",
		"Interrupts everything and ends Python, the local namespace and the ranks. The next cell starts it again, with the settings of that moment.",
		`{}`, (*server).restartAll)),
	waiting(define("restartAndRunAll", "Restart and run all",
		"Interrupts everything, replaces the local namespace and the ranks by fresh ones, and runs all cells of a document, one after the other, up to the "+
			"first that fails. A cell that cannot run is told of before anything is lost. It answers when the cells begin. A document that is a cell of a "+
			"notebook is refused.",
		`{"run": "3f9a2c-1", "cells": 3}`, (*server).restartAndRunAll)),
	waiting(define("restartAndRunTo", "Restart and run up to here",
		"Does the same with the cells down to one, with it.",
		`{"run": "3f9a2c-1", "cells": 3}`, (*server).restartAndRunTo)),
	define("interrupt", "Interrupt",
		"Interrupts a run, or all runs of the workspace. Ranks that wait for others and so do not stop are freed after a second. "+
			"The second time they are freed at once; after that the user is asked whether the pool may end (`window/showMessageRequest`).",
		`{"interrupted": 1}`, (*server).interrupt),
	define("answerInput", "Answer input",
		"Asks the user once more (`dip/input`) for what code waits to be typed, where the question was closed without an answer.",
		`{"asked": 1}`, (*server).answerInput),
	define("free", "Free ranks",
		"Ends a run on the ranks, or whatever is on them, and at once frees ranks that wait for others. "+
			"Their variables stay, and the next cell's collectives pair up.",
		`{"freed": true}`, (*server).free),
	define("push", "Push variables to the ranks",
		"Copies variables from the local namespace to the ranks, as `%dipush` does, once earlier runs have ended.",
		`{"run": "3f9a2c-1"}`, (*server).push),
	define("pushAndRun", "Push variables and run cell",
		"Copies variables to all ranks, and runs a cell once they are there.",
		`{"run": "3f9a2c-1", "cells": 1}`, (*server).pushAndRun),
	define("pull", "Pull variables from a rank",
		"Copies variables from a rank to the local namespace, as `%dipull` does, once earlier runs have ended.",
		`{"run": "3f9a2c-1"}`, (*server).pull),
	define("autodip", "Switch autodip",
		"Switches autodip: whether cells that do not say where they run go to the ranks. Without `on` nothing changes.",
		`{"autodip": "%%dip --see all"}`, (*server).autodip),
	waiting(define("status", "Status",
		"Describes the workspaces' pools, processes and runs. `pool` is as in [the wire](wire.md#commands), `info`; "+
			"besides, its `ranks` and `local` each have the `run` that goes on there, or null.",
		`{"workspaces": [{"folder": "/home/u/project", `+
			`"session": {"name": "project", "keep": 14400, "since": "2026-01-31T12:00:00Z", "clients": ["VS Code"]}, `+
			`"pool": {"state": "busy", "reason": "", "size": 1, "backend": "gloo", "app": "torch", "method": "fork", "verbose": false, "autodip": "", `+
			`"ranks": [{"rank": 0, "host": "gpu7", "pid": 4711, "device": "cuda:0", "state": "busy", "host_bytes": null, "gpu_bytes": null, `+
			`"run": {"run": "3f9a2c-1", "uri": "file:///home/u/project/train.py", "cell": 3, "title": "Train", "seconds": 12.5}}], `+
			`"local": {"host": "gpu7", "pid": 4700, "state": "ready", "host_bytes": null, "run": null}}, `+
			`"runs": [{"run": "3f9a2c-1", "state": "running", "uri": "file:///home/u/project/train.py", "cell": 3, "target": "remote", "done": 1, "parts": 2}]}]}`,
		(*server).status)),
	waiting(define("gpus", "GPUs",
		"Lists the GPUs that a pool can be made of: those that the local namespace would see. Without `nvidia-smi` there are none.",
		`{"gpus": [{"index": 0, "name": "NVIDIA H100 80GB HBM3", "total_bytes": 85520809984, "used_bytes": 4194304}]}`, (*server).gpus)),
	waiting(define("interpreters", "Interpreters",
		"Lists the Python interpreters that the user may want to choose by the setting `dip.python`, with what their files tell of them. "+
			"Nothing is run, so it answers in folders that are not trusted, too. "+
			"`kind` is `venv`, `conda`, `pyenv`, `uv` or `system`, and empty if that is not known.",
		`{"interpreters": [{"path": "/home/u/project/.venv/bin/python", "version": "3.12.1", "torch": "2.4.0", "kind": "venv", "current": true}]}`,
		(*server).interpreters)),
	waiting(define("variables", "Variables",
		"Lists the variables of the namespaces that live and are idle. A variable has one value for all processes that agree on it: "+
			"an object as in [the wire](wire.md#lookups). Processes that are `busy` have not answered.",
		`{"variables": [{"name": "x", "values": [{"local": true, "ranks": "0-1", "type": "int", "kind": "instance", "text": "3"}]}], "busy": "ranks 2-3"}`,
		(*server).variables)),
	waiting(define("table", "Part of a table",
		"Shows a part of a table or an array: a DataFrame or Series of pandas or polars, an array of numpy, a tensor of torch. "+
			"Each process that lives, is idle and is asked (`ranks`) answers with a `page` as in [the wire](wire.md#lookups), or is `busy`. "+
			"Nothing but the part that is asked for is sent.",
		`{"tables": [{"rank": 0, "page": {"found": true, "type": "numpy.ndarray", "shape": [2, 1], "total": 2, "columns": 1, `+
			`"names": [{"name": "0", "dtype": "int64"}], "labels": ["0", "1"], "cells": [["3"], ["4"]]}}]}`,
		(*server).table)),
	waiting(define("stack", "Stacks",
		"Says where processes are in their code, also while they are busy. One that does not answer within 2 seconds has an `error` "+
			"instead of `text` and `frames`. `folded` is all of it for people.",
		`{"stacks": [{"rank": -1, "local": true, "text": "waiting for a cell\n", "frames": [{"thread": "MainThread", "main": true, "frames": []}]}, `+
			`{"rank": 0, "text": "  File \"/home/u/project/train.py\", line 33, in <module>\n    loss.backward()\n", "frames": [{"thread": "MainThread", "main": true, `+
			`"frames": [{"file": "/home/u/project/train.py", "line": 33, "name": "<module>", "run": "3f9a2c-1", "source": "loss.backward()"}]}]}, `+
			`{"rank": 1, "error": "rank 1 was killed by SIGKILL"}], `+
			`"folded": "local\n  waits for a cell\n\nrank 0\n  train.py:33  loss.backward()\n\nrank 1\n  rank 1 was killed by SIGKILL\n"}`,
		(*server).stack)),
	waiting(define("showStacks", "Show stacks",
		"Opens in the editor where processes are, folded, and who waits for whom, as far as that is known (`window/showDocument`). "+
			"A client that cannot do that opens `path` itself. Without a journal it is a message, and `path` is empty.",
		`{"path": "/home/u/.local/state/dipls/runs/2026-01-31T12-00-00-3f9a2c-1/stacks.txt", "shown": true}`, (*server).showStacks)),
	waiting(define("showOutput", "Show output",
		"Opens in the editor what a run has printed, folded (`window/showDocument`). A client that cannot do that opens `path` itself.",
		`{"path": "/home/u/.local/state/dipls/runs/2026-01-31T12-00-00-3f9a2c-1/output.txt", "shown": true}`, (*server).showOutput)),
	define("showQuestion", "Show question",
		"Asks the user once more what has not been answered, such as whether an interpreter may run: the message may be hidden by now.",
		`{"shown": 1}`, (*server).showQuestion),
	waiting(define("runs", "Runs",
		"Lists what has run, in sessions that live and in earlier ones, as [`dipls runs --json`](events.md#runs) does; the latest comes first. It starts nothing.",
		`{"runs": [{"run": "3f9a2c-1", "path": "/home/u/project/train.py", "line": 31, "cell": 4, "title": "Train", "target": "remote", "status": "ok", `+
			`"started": "2026-01-31T12:00:00Z", "seconds": 12.5, "peak_memory": 8589934592, `+
			`"journal": "/home/u/.local/state/dipls/runs/2026-01-31T12-00-00-3f9a2c-1", "server": 4711}]}`, (*server).listRuns)),
	waiting(define("recall", "Recall run",
		"Tells once more what a run of the past has told: its `events`, without output beyond 4 MiB (`more`; a `log` event stands where it began). A "+
			"silent run has none. One whose process was killed ends with `died`. `gone` is absent if what the run has left is there.",
		`{"run": {"run": "3f9a2c-1", "cell": 4, "title": "Train", "target": "remote", "status": "ok", "started": "2026-01-31T12:00:00Z", "seconds": 12.5, `+
			`"code": "train()", "server": 4711}, "events": [{"event": "run_finished", "run": "3f9a2c-1", "status": "ok", "seconds": 12.5}], "more": false}`,
		(*server).recall)),
	waiting(define("export", "Export",
		"Writes a notebook (`ipynb`) or a page (`html`) of the document and what its cells have put out last, or a script for torchrun: see [export](export.md). "+
			"The text is that of the editor, saved or not. A file that is there is kept, and that is an error, unless `force` is given. A document that is a "+
			"cell of a notebook is refused.",
		`{"path": "/home/u/project/train.ipynb"}`, (*server).export)),
	waiting(define("sessions", "Sessions",
		"Lists the user's sessions on this host that outlive their clients, with a line of `text` for each. `keep` is in seconds, -1 for ever. "+
			"Of one with a `problem` only what its directory tells is known.",
		`{"sessions": [{"name": "project", "dir": "/home/u/project", "pid": 4711, "since": "2026-01-31T12:00:00Z", "used": true, "keep": 14400, `+
			`"clients": [{"program": "VS Code", "pid": 4700, "since": "2026-01-31T12:00:00Z"}], "state": "ready", "ranks": 1, "devices": ["cuda:0"], `+
			`"text": "project in /home/u/project: 1 rank, idle, VS Code is attached; started 12:00", "current": true}]}`,
		(*server).listSessions)),
	waiting(define("attachSession", "Attach to another session",
		"Attaches the workspace to a session that is there. The runs of that one take the place of those that are shown. The other session goes on. "+
			"Until the chosen one ends, the workspace has it also when it is opened again in the same program. Without a name and a folder the user is asked, "+
			"and `text` is empty if the user wants none.",
		`{"text": "attached to session train in /home/u/project: 2 ranks, idle, VS Code is attached; started 09:12"}`, (*server).attachSession)),
	waiting(define("renameSession", "Rename session",
		"Gives the workspace's session another name.",
		`{"text": "the session is called train"}`, (*server).renameSession)),
	waiting(define("stopSession", "End session",
		"Ends a session with all that runs in it. If that would lose anything, the user is asked first (`window/showMessageRequest`), where "+
			"the client can ask and does not take events; then `text` is empty if the user does not want that.",
		`{"text": "session project has ended"}`, (*server).stopSession)),
	define("freeMemory", "Free cached GPU memory",
		"Makes all processes give back GPU memory that torch has cached, once earlier runs have ended. No variable is lost.",
		`{"run": "3f9a2c-1"}`, (*server).freeMemory),
	define("clear", "Clear outcomes of cells",
		"Forgets how the cells of a document ran: lenses, hints and diagnostics are as if they had not run.",
		`{}`, (*server).clear),
}

// define makes a command of a function and the types of its arguments and its answer.
func define[A, R any](name, title, doc, reply string, f func(*server, context.Context, *A) (*R, error)) Command {
	return Command{Name: name, Title: title, Doc: doc, Reply: reply, Args: reflect.TypeFor[A](), Answer: reflect.TypeFor[R](),
		run: func(s *server, ctx context.Context, raw json.RawMessage) (any, error) {
			args := new(A)
			if err := decodeArgs(raw, args); err != nil {
				return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "%s%s: %v", commandPrefix, name, err)
			}
			answer, err := f(s, ctx, args)
			if err != nil {
				return nil, err
			}
			return answer, nil
		}}
}

// waiting marks a command that may take long.
func waiting(c Command) Command {
	c.waits = true
	return c
}

func commandNames() []string {
	var names []string
	for _, c := range commands {
		names = append(names, commandPrefix+c.Name)
	}
	return names
}

func (s *server) commandMethods() map[string]rpc.Method {
	return map[string]rpc.Method{protocol.MethodWorkspaceExecuteCommand: rpc.InOrder(s.executeCommand)}
}

// codeFailed is LSP's RequestFailed: the request was right, but it cannot be done.
const codeFailed jsonrpc2.Code = -32803

func (s *server) executeCommand(ctx context.Context, p *protocol.ExecuteCommandParams) (any, error) {
	for _, c := range commands {
		if commandPrefix+c.Name != p.Command {
			continue
		}
		raw, err := onlyArgument(p.Arguments)
		if err != nil {
			return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "%s: %v", p.Command, err)
		}
		before, done := s.turns.take()
		defer done()
		if before != nil {
			rpc.Release(ctx)
			<-before
		}
		if c.waits {
			done()
			rpc.Release(ctx)
		}
		reply, err := c.run(s, ctx, raw)
		var coded *jsonrpc2.Error
		if err != nil && !errors.As(err, &coded) && !errors.Is(err, context.Canceled) {
			err = jsonrpc2.Errorf(codeFailed, "%s: %v", p.Command, err)
		}
		return reply, err
	}
	return nil, jsonrpc2.Errorf(jsonrpc2.InvalidParams, "there is no command %q; there are %s", p.Command, strings.Join(commandNames(), ", "))
}

// onlyArgument is a command's one argument, an object; it may be left out.
func onlyArgument(arguments []protocol.LSPAny) (json.RawMessage, error) {
	switch len(arguments) {
	case 0:
		return nil, nil
	case 1:
		return json.RawMessage(arguments[0]), nil
	}
	return nil, fmt.Errorf("want one object as argument, not %d arguments", len(arguments))
}

// decodeArgs decodes a command's argument, and says in words what does not fit.
func decodeArgs(raw json.RawMessage, args any) error {
	if isNothing(raw) {
		return nil
	}
	err := json.Unmarshal(raw, args)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Errorf("want an object as argument, not %s", wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Errorf("%s: want %s, not %s", wrong.Field, TypeName(wrong.Type), wrong.Value)
	}
	return err
}

// TypeName is what JSON calls a type, in words for people: "array of strings".
func TypeName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Name() == "Position" || t.Name() == "Range":
		return "LSP's " + t.Name()
	case t.Kind() == reflect.Slice:
		return "array of " + TypeName(t.Elem()) + "s"
	case t == reflect.TypeFor[ranklist.Who](), t.Kind() == reflect.Int || t.Kind() == reflect.Uint32 || t.Kind() == reflect.Uint64:
		return "integer"
	case t.Kind() == reflect.Float64:
		return "number"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.String:
		return "string"
	}
	return "object"
}
