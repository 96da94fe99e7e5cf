package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"

	"go.uber.org/zap"

	"dipls/ranks/wire"
)

// checkFiles asks a Python process of its own about the cells of files.
type checkFiles struct {
	ExtraPath []wire.Path         `json:"extra_path"`
	Files     []wire.CheckRequest `json:"files"`
}

// CheckFiles has the cells of files compiled by an interpreter, those of each file as ones that will run one after the other, and answers what is wrong
// with each file. Nothing is run, and nothing is imported but what is installed. extraPath is searched last. The error is a *[MissingPackagesError] if
// the interpreter lacks what the shell imports.
func CheckFiles(ctx context.Context, python string, files []wire.CheckRequest, extraPath ...string) ([][]wire.Fault, error) {
	dir, err := planRuntimeDir(zap.NewNop())
	if err != nil {
		return nil, err
	}
	defer dir.remove() // it is made only if the cache cannot be used
	agent, err := unpackAgent(ctx, dir)
	if err != nil {
		return nil, err
	}
	request := checkFiles{ExtraPath: []wire.Path{}, Files: files}
	for _, path := range extraPath {
		request.ExtraPath = append(request.ExtraPath, wire.Path(path))
	}
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, python, agent, "check")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(line), &out, &errOut
	err = cmd.Run()
	var answer struct {
		Missing []string       `json:"missing"`
		Faults  [][]wire.Fault `json:"faults"`
	}
	said := errOut.String()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil: // the answer is the last line: a sitecustomize may print, too
		err = json.Unmarshal([]byte(lastLine(out.String())), &answer)
		said = out.String()
	}
	if err == nil && len(answer.Missing) == 0 && len(answer.Faults) != len(files) {
		err = errors.New("it has not answered")
	}
	switch {
	case err != nil:
		return nil, notPython(ctx, python, said)
	case len(answer.Missing) > 0:
		return nil, MissingPackages(python, answer.Missing)
	}
	return answer.Faults, nil
}

// notPython says why a program that was taken for an interpreter has not done what one does. said is what it has printed.
func notPython(ctx context.Context, python, said string) error {
	if _, err := Probe(ctx, python); err != nil { // it may be too old, as well
		return err
	}
	return fmt.Errorf("%s could not compile the cells: %s", python, lastLine(said))
}
