package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dipls/internal/testhosts"
)

// pushes are cells that push a variable several times. Before each push they wait for the test, which is told how much this host has sent for it.
const pushes = `# %%
import hashlib, os, time
def act(name):
    print("act", name)
    while not os.path.exists(name):
        time.sleep(0.01)
def sent():
    with open("/sys/class/net/eth0/statistics/tx_bytes") as file:
        return int(file.read())
def push():
    global x
    x, before = os.urandom(16 << 20), sent()
    %dipush x
    return f"{(sent() - before) * 10 // len(x)} tenths"
# %%
print("open:", push())
act("firewall")
print("closed:", push())
act("slow")
print("cut:", push())
print("sent", hashlib.sha256(x).hexdigest())
act("mend")
# %%dip --see all
import hashlib
print("has", hashlib.sha256(x).hexdigest())
`

// A pushed variable leaves the session once and passes from host to host. Where one does not reach the next, or no more, the session sends the rest.
func TestPushFromHostToHost(t *testing.T) {
	testhosts.On(t, 3, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		received := func() (bytes int) {
			bytes, _ = strconv.Atoi(strings.TrimSpace(h.Exec("h3", "cat", "/sys/class/net/eth0/statistics/rx_bytes")))
			return bytes
		}
		act := func(name string, do func()) (string, func()) {
			return "act " + name, func() {
				do()
				if err := os.WriteFile(filepath.Join(h.dir, name), nil, 0o600); err != nil {
					t.Error(err)
				}
			}
		}
		when := map[string]func(){}
		add := func(name string, do func()) { text, f := act(name, do); when[text] = f }
		add("firewall", func() { h.Firewall("h2", "") })
		add("mend", func() { h.Mend("h2"); h.Rate("h0", "off") })
		cut := make(chan struct{})
		add("slow", func() {
			h.Mend("h2")
			h.Rate("h0", "50mbit")
			before := received()
			go func() { // in the middle of the push
				defer close(cut)
				for received() < before+2<<20 {
					time.Sleep(10 * time.Millisecond)
				}
				h.Cut("h2", "h3")
			}()
		})
		shown, code := h.attend(pushes, when, "--hosts", "h1,h2,h3", "--ranks-per-host", "1", "--app", "none")
		if strings.Contains(shown, "act slow") {
			<-cut
		}
		h.want(shown, code, 0, `^open: 1\d tenths$`, `^closed: 2\d tenths$`, `^cut: 2[1-9] tenths$`, `push: .* have crossed the network`)
		sum := regexp.MustCompile(`sent ([0-9a-f]{64})`).FindStringSubmatch(shown)
		if len(sum) != 2 || !strings.Contains(shown, fmt.Sprintf("[0-2] has %s", sum[1])) {
			t.Errorf("not what was sent:\n%s", shown)
		}
		h.wantNothing("h1", "h2", "h3")
	})
}
