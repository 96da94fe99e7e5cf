package launch

// Bootstrap is what an agent needs to find its way back.
type Bootstrap struct {
	Python      string   // the interpreter on the hosts: a path, or a name on their PATH
	Prologue    []string // lines of bash that run before it, such as "module load cuda"
	Addresses   []string // where the session listens, "10.0.0.1:7000"; none: a host cannot dial, and ssh must carry the connection
	Certificate string   // of the session, PEM: an agent talks to nobody else
	Agent       string   // SHA-256 of the agent's zip, hexadecimal; the session serves it
	Socket      string   // path of a Unix socket that takes joins like Addresses, for connections that ssh carries

	// Token lets a host join once. -1 asks for the token that all hosts of the start share: see [Allocation.OwnInput].
	Token func(host int) string
}
