package launch

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"dipls/ranks/agent"
)

// Bootstrap is what an agent needs to find its way back.
type Bootstrap struct {
	Python      string   // the interpreter on the hosts: a path, or a name on their PATH
	Prologue    []string // lines of bash that run before it, such as "module load cuda"
	Addresses   []string // where the session listens, "10.0.0.1:7000"; none: no host can dial, and ssh must carry the connections
	Certificate string   // of the session, PEM: an agent talks to nobody else
	Agent       string   // SHA-256 of the agent's zip, hexadecimal; the session serves it (package agent has both)
	Socket      string   // path of a Unix socket that takes joins like Addresses, for connections that ssh carries; "": there is none

	// Token lets a host join once. -1 asks for the token that all hosts of the start share: see [Allocation.OwnInput].
	Token func(host int) string
}

// firstStage reads one line from standard input, not a byte more, and runs it.
const firstStage = `import os,sys;exec(b"".join(iter(lambda:os.read(0,1)or sys.exit("dipls: nothing came on standard input"),b"\n")))`

// command is what is to run on a host. It is the same for all hosts, and holds nothing secret. -I: it imports nothing from the working directory.
func (b Bootstrap) command() []string {
	if len(b.Prologue) > 0 {
		return []string{"bash", "-l"} // which reads the prologue from standard input, byte by byte
	}
	return b.python()
}

func (b Bootstrap) python() []string {
	python := b.Python
	if python == "" {
		python = "python3"
	}
	return []string{python, "-I", "-c", firstStage}
}

// input is the standard input of the command. host: the one that it is for; -1: all. forward: its launcher can make a Unix socket there that leads to us.
func (b Bootstrap) input(host int, forward bool) []byte {
	var in bytes.Buffer
	if len(b.Prologue) > 0 {
		// bash has read all of this line by line before it runs a command that might read, too.
		fmt.Fprintf(&in, "{\n%s\n} </dev/null >&2 || { echo 'dipls: the prologue has failed' >&2; exit 1; }\nexec %s\n",
			strings.Join(b.Prologue, "\n"), quoteForShell(b.python()))
	}
	in.WriteString(secondStage())
	start, err := json.Marshal(struct {
		Addresses   []string `json:"addresses"`
		Certificate string   `json:"certificate"`
		Token       string   `json:"token"`
		Agent       string   `json:"agent"`
		Python      string   `json:"python,omitempty"` // for hosts that join by themselves
		Forward     bool     `json:"forward,omitempty"`
	}{b.dialled(), b.Certificate, b.Token(host), b.Agent, b.Python, forward && b.Socket != ""})
	if err != nil {
		panic(err) // strings can be marshalled
	}
	in.Write(append(start, '\n'))
	return in.Bytes()
}

// dialled are the addresses that a host can dial: not those of sockets on our own host.
func (b Bootstrap) dialled() []string {
	return slices.DeleteFunc(append([]string{}, b.Addresses...), func(address string) bool { return strings.HasPrefix(address, "unix:") })
}

// secondStage is the line that brings bootstrap.py.
var secondStage = sync.OnceValue(func() string {
	source, err := fs.ReadFile(agent.Source(), "dip_agent/hosts/bootstrap.py")
	if err != nil {
		panic(fmt.Sprintf("embedded agent: %v", err))
	}
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	_, _ = w.Write(source) // to memory
	_ = w.Close()
	return fmt.Sprintf("exec(__import__(\"zlib\").decompress(__import__(\"base64\").b64decode(\"%s\")))\n", base64.StdEncoding.EncodeToString(packed.Bytes()))
})
