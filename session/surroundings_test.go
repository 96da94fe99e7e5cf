package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dipls/internal/testpython"
	"dipls/ranks"
	"dipls/ranks/fakerank"
	"dipls/ranks/wire"
)

// moved has the local namespace tell what it has changed, as after a cell.
func (f *fixture) moved(surroundings string) {
	f.t.Helper()
	local, err := f.Local(testContext(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	printed(f.t, local.(*ranks.Process), "surroundings "+surroundings)
}

// inherited fails the test if some rank has not inherited that.
func (f *fixture) inherited(want string) {
	f.t.Helper()
	for _, p := range f.ranks() {
		if got := printed(f.t, p, "inherited"); got != want+"\n" {
			f.t.Errorf("%s inherited %q, want %q", p.Name(), got, want)
		}
	}
}

// begun is a session whose pool was started ahead, and what that has told.
func begun(t *testing.T, c Choice) *fixture {
	t.Helper()
	f := newFixture(t, fakerank.Config{Processes: true}, choose(c))
	if err := f.Begin(testContext(t), true, true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.current.wait(testContext(t)); err != nil {
		t.Fatal(err)
	}
	f.told()
	return f
}

func (f *fixture) tells(want string) {
	f.t.Helper()
	if got := f.told(); got != want {
		f.t.Errorf("told %q, want %q", got, want)
	}
}

func TestRanksInheritFromTheLocalNamespace(t *testing.T) {
	f := newFixture(t, fakerank.Config{})
	// What ranks have of the launcher is never carried, and a value need not be UTF-8.
	f.moved(`{"env":{"A":"\udcff","B":null,"RANK":"7","MASTER_PORT":"1","DIPLS_X":"y","CUDA_VISIBLE_DEVICES":""},"cwd":"/d","path":["/p",null]}`)
	f.inherited(`{"env":{"A":"\udcff","B":null},"cwd":"/d","path":["/p",null]}`)
	f.moved(`{"env":{"A":"2"}}`) // is for the next pool, as it was for Ddip's engines
	f.inherited(`{"env":{"A":"\udcff","B":null},"cwd":"/d","path":["/p",null]}`)
	f.making(wire.MakeCommand{Restart: true})
	f.inherited(`{"env":{"A":"2"}}`)
	if err := f.RestartLocal(testContext(t)); err != nil {
		t.Fatal(err)
	}
	f.making(wire.MakeCommand{Restart: true})
	f.inherited("")
}

// A pool that was there before gets it with the first request, each of its ranks, and only then.
func TestInheritanceOfAPoolThatWasStartedAhead(t *testing.T) {
	f := begun(t, Choice{})
	f.moved(`{"env":{"A":"1"}}`)
	f.moved(`{"env":{"A":"2"}}`)
	all := f.ranks()
	if got := printed(t, all[1], "inherited"); got != `; {"env":{"A":"2"}}`+"\n" {
		t.Errorf("inherited %q", got)
	}
	f.moved(`{"env":{"A":"3"}}`)
	f.inherited(`; {"env":{"A":"2"}}`)
	f.inherited(`; {"env":{"A":"2"}}`)
	f.tells("")

	f = begun(t, Choice{})
	f.moved(`{"env":{"A":"1"}}`)
	f.making(wire.MakeCommand{Ranks: 2, App: "loud"}) // may import something
	f.inherited(`; {"env":{"A":"1"}}; {"env":{"A":"1"}}`)
}

func TestVariablesThatCountAtJoining(t *testing.T) {
	for _, name := range []string{"NCCL_DEBUG", "GLOO_SOCKET_IFNAME", "TORCH_NCCL_BLOCKING_WAIT", "OMP_NUM_THREADS"} {
		f := begun(t, Choice{})
		before := f.current.value.Ranks()[0].PID()
		change := fmt.Sprintf(`{"env":{%q:"3"}}`, name)
		f.moved(change)
		f.inherited(change)
		f.tells("the pool is made anew, since " + name + " changed after it had begun; no GPU: 2 CPU ranks over gloo")
		pids := f.pids()
		if pids[0] == before {
			t.Errorf("%s: the pool is the old one", name)
		}
		if got := printed(t, f.ranks()[0], "env OMP_NUM_THREADS"); name == "OMP_NUM_THREADS" && got != "\n" {
			t.Errorf("set by us to %s", got)
		}

		f.moved(`{"env":{"NCCL_A":"1","NCCL_B":null,"C":"1"}}`) // too late
		for range 2 {
			f.inherited(change)
		}
		f.making(wire.MakeCommand{Ranks: 2})
		names := []string{name, "NCCL_A", "NCCL_B"}
		slices.Sort(names)
		f.tells(strings.Join(names, ", ") + " changed after the ranks had joined, and count for those of the next pool: %makedip -r")
		if got := f.pids(); got[0] != pids[0] {
			t.Errorf("%s: a pool that is used was replaced", name)
		}
	}

	f := begun(t, Choice{})
	f.making(wire.MakeCommand{Ranks: 2})
	before := f.current.value.Ranks()[0].PID()
	f.moved(`{"env":{"NCCL_DEBUG":"3"}}`)
	f.making(wire.MakeCommand{Ranks: 2}) // nobody has used it yet
	f.inherited(`{"env":{"NCCL_DEBUG":"3"}}`)
	if f.pids()[0] == before {
		t.Error("the pool is the old one")
	}
}

// The local namespace says which GPUs there are for -g all, and whoever says nothing.
func TestVisibleGPUs(t *testing.T) {
	fakeGPUs(t, 4)
	gpusOf := func(f *fixture, want string) {
		t.Helper()
		if got := printed(t, f.ranks()[0], "env CUDA_VISIBLE_DEVICES"); got != want+"\n" {
			t.Errorf("GPUs %q, want %q", got, want)
		}
	}
	f := begun(t, Choice{})
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":"2,3"}}`)
	gpusOf(f, "gpu2,gpu3")
	f.tells("the pool is made anew, since CUDA_VISIBLE_DEVICES changed after it had begun")
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":"3,1"}}`)
	gpusOf(f, "gpu2,gpu3")
	f.tells("CUDA_VISIBLE_DEVICES changed after the ranks had joined, and counts for those of the next pool: %makedip -r")
	f.making(wire.MakeCommand{Restart: true})
	gpusOf(f, "gpu3,gpu1")
	f.making(wire.MakeCommand{Restart: true, GPUs: gpus("1")})
	gpusOf(f, "gpu1")
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":null}}`)
	f.making(wire.MakeCommand{Restart: true}) // as it was chosen
	gpusOf(f, "gpu1")
	f.making(wire.MakeCommand{Restart: true, GPUs: gpus("all")})
	gpusOf(f, "gpu0,gpu1,gpu2,gpu3")

	f = begun(t, Choice{})
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":"2,3"}}`)
	f.making(wire.MakeCommand{GPUs: gpus("all")})
	gpusOf(f, "gpu2,gpu3")
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":""}}`)
	f.making(wire.MakeCommand{Restart: true})
	gpusOf(f, "")

	f = newFixture(t, fakerank.Config{})
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":"9"}}`)
	_, err := f.Make(testContext(t), wire.MakeCommand{GPUs: gpus("0")})
	wantError(t, err, "no GPU is visible")

	fakeGPUs(t, 0)
	f = begun(t, Choice{})
	before := f.current.value.Ranks()[0].PID()
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":"2"}}`) // where there are none it makes no difference
	if f.pids()[0] != before {
		t.Error("the pool is another one")
	}
	f.moved(`{"env":{"CUDA_VISIBLE_DEVICES":"3"}}`)
	f.ranks()
	f.tells("")
}

// Both ends for real: a pool that was there before, one with a variable that counts at joining, and one that is made later.
func TestPythonSurroundings(t *testing.T) {
	python, dir := testpython.Need(t), t.TempDir()
	f := newFixture(t, fakerank.Config{}, choose(Choice{App: "none"}), func(o *processOptions) {
		o.Node = ranks.Options{Python: python, Dir: dir}
	})
	if err := f.Begin(testContext(t), true, true); err != nil {
		t.Fatal(err)
	}
	local, err := f.Local(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	change := func(code string) {
		t.Helper()
		if got := printed(t, local.(*ranks.Process), code); got != "" {
			t.Errorf("printed %q", got)
		}
	}
	shows := func(want string) {
		t.Helper()
		const code = "import os, sys; print(os.environ.get('A'), os.path.basename(os.getcwd()), '/first' in sys.path, os.environ.get('NCCL_DEBUG'))"
		for _, p := range f.ranks() {
			if got := printed(t, p, code); got != want+"\n" {
				t.Errorf("%s: %q, want %q", p.Name(), got, want)
			}
		}
	}
	change("import os, sys; os.makedirs('a ü'); os.chdir('a ü'); os.environ['A'] = 'ä b'; sys.path.append('/first')")
	shows("ä b a ü True None")
	change("os.environ['A'] = '2'; os.environ['NCCL_DEBUG'] = 'WARN'")
	shows("ä b a ü True None")
	f.making(wire.MakeCommand{Restart: true})
	shows("2 a ü True WARN")
}
