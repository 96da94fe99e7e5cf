package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dipls/internal/testhosts"
)

// In a trace, what ranks of several hosts do is within the run of which it is a part, whatever clocks the hosts have: those of the tests are days apart.
func TestRunOnHostsTraced(t *testing.T) {
	testhosts.On(t, 2, false, func(outer *testhosts.Hosts) {
		h := newOnHosts(t, outer)
		file := filepath.Join(h.Home(), "trace.json")
		cells := "# %%dip everywhere\nimport time\ntime.sleep(0.2)\n"
		shown, code := h.run(cells, "--hosts", "h1,h2", "--ranks-per-host", "1", "--app", "none", "--trace", file)
		h.want(shown, code, 0)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var events []struct {
			Ph, Name string
			PID      int
			TS, Dur  float64 // µs
			Args     map[string]any
		}
		if err := json.Unmarshal(data, &events); err != nil {
			t.Fatal(err)
		}
		names := map[int]string{}
		var begins, ends float64
		for _, e := range events {
			switch {
			case e.Name == "process_name":
				names[e.PID], _ = e.Args["name"].(string)
			case e.Name == "run" && e.Ph == "b":
				begins = e.TS
			case e.Name == "run" && e.Ph == "e":
				ends = e.TS
			}
		}
		const slack = 10e6 // µs: by how much a busy machine may be wrong about a clock
		seen := map[string]bool{}
		for _, e := range events {
			if e.Name != "run" || e.Ph != "X" {
				continue
			}
			where, _, _ := strings.Cut(names[e.PID], ", process ")
			seen[where] = true
			if e.Dur < 0.2e6 || e.TS < begins-slack || e.TS+e.Dur > ends+slack {
				t.Errorf("%s runs from %.0f for %.0f µs, in a run from %.0f to %.0f", names[e.PID], e.TS, e.Dur, begins, ends)
			}
		}
		for _, want := range []string{"local", "rank 0 (h1)", "rank 1 (h2)"} {
			if !seen[want] {
				t.Errorf("nothing of %q in the trace, only of %v", want, seen)
			}
		}
	})
}
