package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dipls/internal/testhosts"
)

// awaited is a cell that says that it is there, with a secret of its own, and goes on when it is told to.
func awaited(name string) string {
	return strings.ReplaceAll(`# %%dip remote --see all
import os, time
secret = "classi" + "fied"
print(f"NAME is {secret}", flush=True)
while not os.path.exists(os.path.expanduser("~/NAME")):
    time.sleep(0.05)
`, "NAME", name)
}

// goOn has such a cell go on.
func (h *onHosts) goOn(name string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.Home(), name), nil, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// listening is who listens on a host besides sshd: "PORT PROGRAM".
func (h *onHosts) listening(host string) (found []string) {
	h.t.Helper()
	for line := range strings.Lines(h.Exec(host, "ss", "-Hltnp")) {
		fields := strings.Fields(line)
		port := fields[3][strings.LastIndexByte(fields[3], ':')+1:]
		_, program, _ := strings.Cut(fields[len(fields)-1], `"`)
		program, _, _ = strings.Cut(program, `"`)
		if program != "sshd" {
			found = append(found, port+" "+program)
		}
	}
	return found
}

// wantListening fails the test if others listen than these.
func (h *onHosts) wantListening(when string, want map[string][]string) {
	h.t.Helper()
	for _, host := range []string{"h0", "h1", "h2"} {
		if got := h.listening(host); !slices.Equal(got, want[host]) {
			h.t.Errorf("%s: %q listen on %s, want %q", when, got, host, want[host])
		}
	}
}

// A session listens on one port while hosts come or may have to come again by it, and at no other time.
func TestNothingElseListens(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		one := map[string][]string{"h0": {"7000 dipls"}}
		onHosts := []string{"--hosts", "h1,h2", "--hosts-ports", "7000-7010", "-n", "2", "--app", "none"}
		for _, c := range []struct {
			cells    string
			flags    []string
			firewall bool
			want     map[string]map[string][]string // while a cell runs
		}{
			{awaited("here"), []string{"-n", "2", "--app", "none"}, false, map[string]map[string][]string{"here": nil}},
			{awaited("there") + "# %%\n%makedip -r -H '' -n 1\n" + awaited("back"), onHosts, false, map[string]map[string][]string{"there": one, "back": nil}},
			{awaited("behind"), onHosts, true, map[string]map[string][]string{"behind": nil}},
		} {
			if c.firewall { // so they cannot dial
				h.Firewall("h0", "")
			}
			looks := map[string]func(){}
			for name, want := range c.want {
				looks[name+" is classified"] = func() {
					h.wantListening(name, want)
					h.goOn(name)
				}
			}
			shown, code := h.attend(c.cells, looks, c.flags...)
			h.want(shown, code, 0)
			h.wantListening("at the end", nil)
		}
	})
}

// stranger is a program that looks for texts (given backwards) wherever another user may look, connects with every Unix socket, and tries to join the
// session whose start-up it is given, with another token. It prints what it has got.
const stranger = `
import json, os, socket, ssl, sys
texts = [text[::-1].encode() for text in sys.argv[2:]]
def tell(what, path):
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 20)
    except OSError:
        return
    for text in texts:
        if text in data:
            print(what, path, "has", text.decode()[:4])
for top in "/tmp", "/var/tmp", "/run", "/dev/shm", "/home":
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                tell("file", path)
            elif not os.path.islink(path):
                try:
                    socket.socket(socket.AF_UNIX).connect(path)
                    print("connected with", path)
                except OSError:
                    pass
for line in open("/proc/net/unix"):
    path = line.split()[-1]
    if path.startswith("@"):
        print("abstract socket", path)
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in "cmdline", "environ":
        tell("process", f"/proc/{pid}/{name}")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for hello in (
    {"protocol": 1, "token": "guessed", "host": {}},
    {"protocol": 1, "token": "guessed", "fetch": "agent"},
    {"protocol": 1, "resume": {"index": 0, "received": 0}},
):
    host, _, port = sys.argv[1].rpartition(":")
    with context.wrap_socket(socket.create_connection((host, int(port)))) as conn:
        conn.sendall(json.dumps(hello).encode() + b"\n")
        answer = json.loads(conn.makefile().readline())
        if not answer.get("refused") or "certificate" in answer or "size" in answer:
            print("answered", answer)
`

// Another user of the hosts gets neither the token nor anything of what runs there, and nobody joins without the token, or with one that was used.
func TestStrangersGetNothing(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		binary := h.everywhere("dipls")
		h.Exec("-u", "dip", "h0", "sh", "-c", "echo bait >~/bait") // so that it is known to find something
		var startup struct {
			Addresses []string `json:"addresses"`
			Token     string   `json:"token"`
		}
		var line []byte
		backwards := func(text string) string {
			letters := []byte(text)
			slices.Reverse(letters)
			return string(letters)
		}
		try := func() {
			t.Helper()
			for _, host := range []string{"h0", "h1"} {
				got := h.Exec("-u", "dip", host, "python3", "-c", stranger, startup.Addresses[0],
					backwards(startup.Token), backwards("classified"), backwards("bait"))
				if got != "file /home/dip/bait has bait\n" {
					t.Errorf("another user of %s has got\n%s", host, got)
				}
			}
		}
		var joins []*exec.Cmd
		invite := func() {
			files, err := filepath.Glob(h.Home() + "/start-*")
			if err != nil || len(files) != 1 {
				t.Fatalf("start-ups %q, %v", files, err)
			}
			if line, err = os.ReadFile(files[0]); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(line[strings.LastIndexByte(strings.TrimSpace(string(line)), '\n')+1:], &startup); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			try()
			for _, host := range []string{"h1", "h2"} {
				join := exec.Command("ssh", host, "DIPLS_STARTUP="+files[0]+" exec "+binary+" join --env --python "+shellQuote(h.python))
				join.Stderr = os.Stderr
				if err := join.Start(); err != nil {
					t.Fatal(err)
				}
				joins = append(joins, join)
			}
		}
		replay := func() {
			try()
			cmd := exec.Command("ssh", "h2", "exec "+binary+" join "+startup.Addresses[0]+" --python "+shellQuote(h.python))
			cmd.Stdin = strings.NewReader(string(line))
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "no longer valid") {
				t.Errorf("a token that was used: %v\n%s", err, out)
			}
			h.goOn("secret")
		}
		shown, code := h.attend(awaited("secret"), map[string]func(){"2 hosts to join": invite, "secret is classified": replay},
			"--hosts", "join[2] "+h.Home(), "--app", "none")
		h.want(shown, code, 0, `^\[0-[13]\] secret is classified$`, `a join was refused.*10\.77\.0\.11.*the token is wrong`)
		for _, join := range joins {
			if err := join.Wait(); err != nil {
				t.Error(err)
			}
		}
		h.wantNothing("h1", "h2")
	})
}
