package lsp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"dipls/cells"
	"dipls/session"
)

// Settings are what a user may choose, for one folder.
type Settings struct {
	Python            string
	Ranks             int
	GPUs              string
	App               string
	Preload           []string
	Start             string
	StartTimeout      time.Duration
	GroupTimeout      time.Duration
	HangAfter         time.Duration // as a Request has it
	KeepGPUMemory     bool
	Seed              session.Seed
	Prewarm           bool
	See               string
	CodeLens          []string
	JournalLimit      int64 // as a Request has it
	DiagnosticsOutput string
	Failures          string
	Keep              time.Duration // as in [session.About]
	Hosts             string
	RanksPerHost      int
	HostTerms         session.HostTerms
	HostsSync         bool
	CellMarkers       *cells.Markers
	Target            string
	Args              []string
	Autoreload        string
	Env               map[string]string
	EnvFile           string
	Cwd               string
}

// What the setting dip.failures may be.
const (
	failuresMessage = "message"
	failuresAsk     = "ask"
	failuresOff     = "off"
)

// What the setting dip.diagnostics.output may be, besides "full".
const (
	outputOff  = "off"
	outputLast = "last"
)

// settingsSection is what a client calls all settings together, and what their keys begin with.
const settingsSection = "dip"

// Setting is a row of the table of settings, from which parsing and documentation are made.
type Setting struct {
	Key     string   // without "dip."
	Kind    string   // what a value is, for people: "array of strings"
	Default string   // as JSON
	Doc     string   // what it does; sentences in Markdown
	Values  []string // the values that are allowed; nil: any

	set func(*Settings, json.RawMessage) error
}

// settingsTable has all settings.
var settingsTable = []Setting{
	{"python", "string", `""`, "The interpreter: a path, relative ones from the folder, or a name on `PATH`; `~` and `${workspaceFolder}` are replaced. " +
		"If it is empty, the first of: `$DIPLS_PYTHON`, an active virtualenv or conda environment, `.venv` in the folder or above it, `python3`.", nil,
		into(func(s *Settings) *string { return &s.Python })},
	{"cellMarkers", "array of strings", `[]`, "Comments that begin cells besides `# %%` and the like, as `[\"# COMMAND ----------\"]` for Databricks or " +
		"`[\"# +\", \"# -\"]` for jupytext's light format. What follows one on its line is the cell's title.", nil,
		func(s *Settings, raw json.RawMessage) (err error) {
			var list []string
			if err := json.Unmarshal(raw, &list); err != nil {
				return fmt.Errorf("want %s", kindOf(list))
			}
			s.CellMarkers, err = cells.NewMarkers(list)
			return err
		}},
	{"target", "string", `""`, "Where cells run that do not say so themselves, if autodip is off and their file has no line such as " +
		"`# dip: remote`: `remote`, `local`, `everywhere`, or `ranks:LIST` such as `ranks:0-3`. Cells that begin with " +
		"a magic stay local. If it is empty, in the local namespace.", nil,
		func(s *Settings, raw json.RawMessage) error {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return fmt.Errorf("want %s", kindOf(text))
			}
			s.Target = text
			if text == "" {
				return nil
			}
			_, err := cells.ParseTarget(text)
			return err
		}},
	{"args", "array of strings", `[]`, "What `sys.argv` has behind the file in cells, as `[\"--lr\", \"3e-4\"]`; it counts from the next cell on. " +
		"`sys.argv[0]` is the file's absolute path.", nil,
		func(s *Settings, raw json.RawMessage) error {
			args := []string{} // to be told: none is not the same as nothing said
			if err := json.Unmarshal(raw, &args); err != nil {
				return fmt.Errorf("want %s", kindOf(args))
			}
			s.Args = args
			return nil
		}},
	{"env", "object of strings", `{}`, "Variables of all processes, on every host, as `{\"HF_HUB_OFFLINE\": \"1\"}`. They count before those of " +
		"`dip.envFile`, and those before what is inherited.", nil,
		func(s *Settings, raw json.RawMessage) error {
			var env map[string]string
			if err := json.Unmarshal(raw, &env); err != nil {
				return fmt.Errorf("want %s", kindOf(env))
			}
			s.Env = env
			return session.CheckEnv(env)
		}},
	{"envFile", "string", `".env"`, "A file of such variables, a line `NAME=VALUE` each: a path, relative ones from the folder; `~` and " +
		"`${workspaceFolder}` are replaced. It is read when Python starts, and never before the folder's code may run. " +
		"A `.env` need not be there. If it is empty, none is read.", nil,
		into(func(s *Settings) *string { return &s.EnvFile })},
	{"cwd", "string", `""`, "The working directory of all processes: a path, relative ones from the folder; `~` and `${workspaceFolder}` are replaced. " +
		"If it is empty, the folder.", nil,
		into(func(s *Settings) *string { return &s.Cwd })},
	{"autoreload", "string", `"off"`, "`on`: modules of the project that were edited since they were imported are reloaded before each cell, " +
		"locally and on all ranks alike. One that cannot be imported says so and stays as it was. With 2,000 imported files a cell takes 5 to 10 ms more.",
		[]string{"off", "on"}, into(func(s *Settings) *string { return &s.Autoreload })},
	{"ranks", "integer", `0`, "Number of ranks of a pool, of all its hosts together. 0: one for each GPU, or 2 on a machine without GPUs.", nil,
		natural(func(s *Settings) *int { return &s.Ranks })},
	{"gpus", "string", `""`, "GPUs of a pool, one rank each, in this order: `all`, or a list such as `3,1` or `0-3`, numbered as torch does.", nil,
		into(func(s *Settings) *string { return &s.GPUs })},
	{"hosts", "string", `""`, "Hosts that the ranks of a pool run on: names for ssh, such as `gpu1,user@gpu2:4` (`:4`: four ranks there); `slurm`, in an " +
		"allocation or with flags for one of its own, such as `slurm -N 4 --gpus-per-node=8`; `exec[gpu1,gpu2] COMMAND`, any launcher; or `join[4]`, hosts that " +
		"join by `dipls join`. If it is empty, this machine.", nil,
		into(func(s *Settings) *string { return &s.Hosts })},
	{"ranksPerHost", "integer", `0`, "Number of ranks on each host of `dip.hosts` that does not say so itself. 0: one for each GPU, " +
		"or 2 on a host without GPUs.", nil,
		natural(func(s *Settings) *int { return &s.RanksPerHost })},
	{"hostsLease", "number", `60`, "For how many seconds a host of `dip.hosts` may be silent before its ranks count as dead. Its cells go on meanwhile.", nil,
		seconds(func(s *Settings) *time.Duration { return &s.HostTerms.Lease })},
	{"hostsPorts", "string", `""`, "The ports at which hosts of `dip.hosts` dial the session, and each other while a variable is pushed, such as `7000-7010`. " +
		"If it is empty, any port. `none`: the session opens no port, and ssh carries the connections.", nil,
		into(func(s *Settings) *string { return &s.HostTerms.Ports })},
	{"hostsPrologue", "array of strings", `[]`, "Lines of bash that run on each host of `dip.hosts` before Python starts, such as `module load cuda`.", nil,
		func(s *Settings, raw json.RawMessage) error {
			var lines []string
			if err := json.Unmarshal(raw, &lines); err != nil {
				return fmt.Errorf("want %s", kindOf(lines))
			}
			s.HostTerms.Prologue = strings.Join(lines, "\n")
			return nil
		}},
	{"hostsSync", "boolean", `false`, "Bring the project's Python files to the hosts of `dip.hosts` before each run that changed them: those that git tracks, " +
		"or without git those below the folder. A host that shares the folder is left alone.", nil,
		into(func(s *Settings) *bool { return &s.HostsSync })},
	{"app", "string", `""`, "The app, hooks around a pool's life: `torch`, `none`, `fastai`, `accelerate`, or a module or file of yours. " +
		"If it is empty, `torch` where that is installed.", nil,
		into(func(s *Settings) *string { return &s.App })},
	{"preload", "array of strings", `[]`, "Modules to import once, before the ranks are forked, besides torch.", nil,
		into(func(s *Settings) *[]string { return &s.Preload })},
	{"start", "string", `"auto"`, "How ranks start.", []string{"auto", "fork", "spawn"},
		into(func(s *Settings) *string { return &s.Start })},
	{"startTimeout", "number", `120`, "How long a pool may take to start, in seconds.", nil,
		seconds(func(s *Settings) *time.Duration { return &s.StartTimeout })},
	{"groupTimeout", "number", `86400`, "How long a collective waits for the other ranks, in seconds, before torch gives up and ends the ranks. " +
		"It is long, so that you can think at a breakpoint; `dip.hang.after` tells you of ranks that wait.", nil,
		seconds(func(s *Settings) *time.Duration { return &s.GroupTimeout })},
	{"hang.after", "number", `10`, "After how many seconds of a run the ranks are asked where they are, to find out who waits for whom. 0: never.", nil,
		func(s *Settings, raw json.RawMessage) error {
			var n float64
			if json.Unmarshal(raw, &n) == nil && n == 0 {
				s.HangAfter = -1
				return nil
			}
			if seconds(func(s *Settings) *time.Duration { return &s.HangAfter })(s, raw) != nil {
				return fmt.Errorf("want seconds, or 0 for never")
			}
			return nil
		}},
	{"keepGpuMemory", "boolean", `false`, "Keep torch's cached GPU memory; otherwise it is freed after each cell that changed it.", nil,
		into(func(s *Settings) *bool { return &s.KeepGPUMemory })},
	{"seed", "integer", `-1`, "Seed of the random generators of Python, NumPy and torch: rank r begins with the seed + r, " +
		"the local namespace with the seed itself. -1: other numbers each time.", nil,
		func(s *Settings, raw json.RawMessage) (err error) {
			var n int64
			if err := json.Unmarshal(raw, &n); err != nil {
				return fmt.Errorf("want a number, or -1")
			}
			s.Seed, err = session.NewSeed(n)
			return err
		}},
	{"prewarm", "boolean", `true`, "Start Python and import the modules when a file with a `%%dip` directive is opened, not only when its first cell runs.", nil,
		into(func(s *Settings) *bool { return &s.Prewarm })},
	{"see", "string", `""`, "Whose output is shown if the cell does not say so: `all`, or ranks such as `0,2-4`, `host:gpu2` or `each:0`. " +
		"If it is empty, rank 0.", nil,
		into(func(s *Settings) *string { return &s.See })},
	{"codeLens", "array of strings", `["runCell","runRemote","runEverywhere","runLocal","runAbove","runBelow"]`,
		"The lenses above each cell that run something, in this order: `runCell` runs it where it goes by itself, and says where that is; `runRemote`, " +
			"`runEverywhere` and `runLocal` run it elsewhere, so beside `runCell` one of them is left out; `runAbove` runs those above it, `runBelow` it and those " +
			"below. If the list is empty, there are no lenses at all.",
		[]string{"runCell", "runRemote", "runEverywhere", "runLocal", "runAbove", "runBelow"},
		into(func(s *Settings) *[]string { return &s.CodeLens })},
	{"journalLimit", "string", `"2GiB"`, "How much the journal of one run may take, such as `500MB` or `4GiB`; `0`: any amount. " +
		"Of a run that puts out more, the oldest and the newest output is kept.", nil,
		func(s *Settings, raw json.RawMessage) error {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return fmt.Errorf("want %s", kindOf(text))
			}
			limit, err := session.ParseJournalLimit(text)
			s.JournalLimit = limit
			return err
		}},
	{"diagnostics.output", "string", `"last"`, "What cells print, as a diagnostic at their header: nothing, the last lines, or everything.",
		[]string{"off", "last", "full"}, into(func(s *Settings) *string { return &s.DiagnosticsOutput })},
	{"failures", "string", `"message"`, "How a client without events shows that a cell has failed: as a message, as a question whether to open the output " +
		"(many editors block until it is answered), or in the output window only.",
		[]string{failuresMessage, failuresAsk, failuresOff}, into(func(s *Settings) *string { return &s.Failures })},
	{"session.keep", "string", `"4h"`, "How long the session of a folder lives with no editor attached and nothing running, such as `90m` or `4h`; " +
		"`forever`: until it is stopped; `0`: it ends with the editor. What still runs is never ended by it.", nil,
		func(s *Settings, raw json.RawMessage) (err error) {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				text = string(raw) // 0 may also be a number
			}
			s.Keep, err = session.ParseKeep(text)
			return err
		}},
}

// natural sets a field from a number of ranks; 0 leaves it open.
func natural(field func(*Settings) *int) func(*Settings, json.RawMessage) error {
	return func(s *Settings, raw json.RawMessage) error {
		var n int
		if err := json.Unmarshal(raw, &n); err != nil || n < 0 {
			return fmt.Errorf("want a number of ranks, or 0")
		}
		*field(s) = n
		return nil
	}
}

// seconds sets a field from a number of seconds.
func seconds(field func(*Settings) *time.Duration) func(*Settings, json.RawMessage) error {
	return func(s *Settings, raw json.RawMessage) error {
		var n float64
		if err := json.Unmarshal(raw, &n); err != nil || n <= 0 || n > 1e7 {
			return fmt.Errorf("want seconds, more than 0")
		}
		*field(s) = time.Duration(n * float64(time.Second))
		return nil
	}
}

// into sets a field from JSON of its type.
func into[T any](field func(*Settings) *T) func(*Settings, json.RawMessage) error {
	return func(s *Settings, raw json.RawMessage) error {
		var value T
		if err := json.Unmarshal(raw, &value); err != nil {
			return fmt.Errorf("want %s", kindOf(value))
		}
		*field(s) = value
		return nil
	}
}

func kindOf(value any) string {
	switch value.(type) {
	case bool:
		return "true or false"
	case []string:
		return "a list of strings"
	case map[string]string:
		return "an object of strings"
	default:
		return "a string"
	}
}

// defaultSettings returns the settings of a user who sets nothing.
func defaultSettings() Settings {
	var s Settings
	for _, row := range settingsTable {
		if err := row.set(&s, json.RawMessage(row.Default)); err != nil {
			panic("lsp: default of setting " + row.Key + ": " + err.Error()) // a mistake in the table
		}
	}
	return s
}

// apply sets what a client's JSON object says and leaves the rest. A key may be spelled "diagnostics.output" or be nested; null says nothing.
// It leaves a setting whose value is wrong, and returns a sentence for each of these. Unknown keys are ignored.
func (s *Settings) apply(object json.RawMessage) (problems []string) {
	if isNothing(object) {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return []string{settingsSection + ": want an object of settings"}
	}
	for _, row := range settingsTable {
		raw, ok := lookUp(fields, row.Key)
		if !ok || isNothing(raw) {
			continue
		}
		if err := row.check(raw); err != nil {
			problems = append(problems, fmt.Sprintf("%s.%s: %v, not %.80s; it stays as it was", settingsSection, row.Key, err, raw))
			continue
		}
		_ = row.set(s, raw) // check has tried it
	}
	return problems
}

// check returns what is wrong with a value.
func (row Setting) check(raw json.RawMessage) error {
	var trial Settings
	if err := row.set(&trial, raw); err != nil {
		return err
	}
	if row.Values == nil {
		return nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		var one string
		_ = json.Unmarshal(raw, &one) // it is one or the other, since set took it
		list = []string{one}
	}
	for _, value := range list {
		if !slices.Contains(row.Values, value) {
			return fmt.Errorf("want %s", strings.Join(row.Values, ", "))
		}
	}
	return nil
}

// lookUp finds a key with dots in it, nested or not.
func lookUp(fields map[string]json.RawMessage, key string) (json.RawMessage, bool) {
	if raw, ok := fields[key]; ok {
		return raw, true
	}
	outer, inner, dotted := strings.Cut(key, ".")
	if !dotted {
		return nil, false
	}
	var nested map[string]json.RawMessage
	if json.Unmarshal(fields[outer], &nested) != nil {
		return nil, false
	}
	return lookUp(nested, inner)
}

func isNothing(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}
