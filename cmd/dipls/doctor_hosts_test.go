package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dipls/dipexec/view"
	"dipls/internal/testhosts"
	"dipls/session"
)

// doctor looks at hosts from a directory, and returns what it found in it, its exit code and what it said meanwhile.
func (h *onHosts) doctor(dir string, flags ...string) (found doctorFindings, code int, said string) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "dipls", append([]string{"doctor", "--json", "--python", h.python}, flags...)...)
	cmd.Env = append(os.Environ(), "HOME="+h.Home(), "XDG_STATE_HOME="+h.Home()+"/state")
	cmd.Dir = dir
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, _ := cmd.Output() // its exit code says it
	if err := json.Unmarshal(out, &found); err != nil {
		h.t.Fatalf("%v\n%s%s", err, out, &errOut)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".dipls-*")); len(left) > 0 {
		h.t.Errorf("left: %q", left)
	}
	return found, cmd.ProcessState.ExitCode(), errOut.String()
}

// checked is the finding about something.
func (f doctorFindings) checked(t *testing.T, name string) check {
	t.Helper()
	for _, c := range f.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("nothing is said of %s: %+v", name, f.Checks)
	return check{}
}

func TestDoctorHosts(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		found, code, _ := h.doctor(h.Home(), "--pool", "--hosts", "h1,h2", "--hosts-ports", "7000-7010")
		if code != 0 || !found.OK || len(found.Hosts) != 2 {
			t.Fatalf("exit code %d: %+v", code, found)
		}
		shared := session.HostFolder{Path: h.Home(), There: true, Shared: true, Known: true}
		for i, name := range []string{"h1", "h2"} {
			at := testhosts.Address(name)
			one := found.Hosts[i]
			if one.Name != name || one.Hostname != name || one.From != at || one.Interface != "eth0" || one.User != "root" {
				t.Errorf("%+v", one)
			}
			if one.OpenFiles == 0 || one.RoundTrip <= 0 {
				t.Errorf("%+v", one)
			}
			if len(one.Addresses) != 1 || one.Addresses[0].Interface != "eth0" || one.Addresses[0].IP.String() != at {
				t.Errorf("addresses of %s: %v", name, one.Addresses)
			}
			if one.Dir != shared || one.Home != shared {
				t.Errorf("%s: working directory %+v, home %+v, want both %+v", name, one.Dir, one.Home, shared)
			}
			// The clocks that start when a host boots are days apart; those of the wall are this machine's.
			if one.ClockAhead > 1 || one.ClockAhead < -1 {
				t.Errorf("the clock of %s is %v s ahead", name, one.ClockAhead)
			}
			for _, needed := range []string{"torch", "cloudpickle", "ipython", "pyzmq"} {
				if one.Packages[needed] == "" {
					t.Errorf("%s has no %s: %v", name, needed, one.Packages)
				}
			}
		}
		if at := found.checked(t, "meeting"); at.Status != "ok" || at.Found != "ranks meet at 10.77.0.11: h1 by eth0, h2 by eth0" {
			t.Errorf("%+v", at)
		}
		if at := found.checked(t, "hosts"); !strings.Contains(at.Found, "listens meanwhile at 10.77.0.10:70") {
			t.Errorf("%+v", at)
		}
		if at := found.checked(t, "pool"); at.Status != "ok" || !strings.Contains(at.Found, "4 ranks on the CPU of 2 hosts over gloo") {
			t.Errorf("%+v", at)
		}
		for _, tried := range []string{"all_reduce", "hang", "freeing", "training", "end"} {
			if at := found.checked(t, tried); at.Status != "ok" {
				t.Errorf("%+v", at)
			}
		}
		h.wantNothing("h1", "h2")

		// A host that is not there, a directory that is here only, and a firewall before this machine.
		here := t.TempDir()
		h.Firewall("h0", "")
		found, code, _ = h.doctor(here, "--hosts", "h1,nowhere")
		if absent := found.checked(t, "nowhere"); code != 1 || absent.Status != "fail" || !strings.Contains(absent.Found, "ssh: ") {
			t.Errorf("exit code %d, %+v", code, absent)
		}
		one := found.checked(t, "h1")
		if one.Status != "warn" || !strings.Contains(one.Found, "ssh carries its connection") || !strings.Contains(one.Remedy, here+" is not there") {
			t.Errorf("%+v", one)
		}
		h.wantNothing("h1")
	})
}

func TestWhatToDoOnHosts(t *testing.T) {
	fine := session.SurveyedHost{OpenFiles: 20000, Dir: session.HostFolder{Path: "/w", There: true, Shared: true, Known: true}}
	if todo := whatToDo(fine); todo != nil {
		t.Errorf("nothing is wrong, and yet: %q", todo)
	}
	slow := fine
	slow.Ahead, slow.OpenFiles, slow.Dir.Shared = -3*clockTolerance, 256, false
	got := strings.Join(whatToDo(slow), "; ")
	behind := "its clock is " + view.FormatDuration(3*clockTolerance) + " behind"
	for _, want := range []string{"/w is another directory than here", behind, "only 256 open files"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}
