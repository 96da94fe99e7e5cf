package launch

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text   string
		engine Engine
		hosts  []Host
		check  func(p Plan) any
		want   any
	}{
		{"gpu1", SSH, []Host{{"gpu1", 0}}, nil, nil},
		{"gpu1, gpu2:4", SSH, []Host{{"gpu1", 0}, {"gpu2", 4}}, nil, nil},
		{"me@gpu1:2222,you@gpu2:22:8,gpu3:2222:8,me@gpu4::2,me@gpu5", SSH,
			[]Host{{"gpu1", 0}, {"gpu2", 8}, {"gpu3", 8}, {"gpu4", 2}, {"gpu5", 0}}, func(p Plan) any { return p.addresses },
			[]address{{"gpu1", "me", 2222}, {"gpu2", "you", 22}, {"gpu3", "", 2222}, {"gpu4", "me", 0}, {"gpu5", "me", 0}}},
		{"gpu[1-2,07-08]:4", SSH, []Host{{"gpu1", 4}, {"gpu2", 4}, {"gpu07", 4}, {"gpu08", 4}}, nil, nil},
		{"r[1-2]n[1-2]-ib", SSH, []Host{{"r1n1-ib", 0}, {"r1n2-ib", 0}, {"r2n1-ib", 0}, {"r2n2-ib", 0}}, nil, nil},
		{"[fe80::1%eth0]:2,10.0.0.7", SSH, []Host{{"fe80::1%eth0", 2}, {"10.0.0.7", 0}}, nil, nil},
		{"größe.example", SSH, []Host{{"größe.example", 0}}, nil, nil},
		{"slurm", Slurm, nil, func(p Plan) any { return p.flags }, []string(nil)},
		{" slurm -N 4 --gpus-per-node=8 -t 2:00:00 --comment 'a b' ", Slurm, nil, func(p Plan) any { return p.flags },
			[]string{"-N", "4", "--gpus-per-node=8", "-t", "2:00:00", "--comment", "a b"}},
		{"exec[gpu1,gpu2:4] mpirun -np {count} --host {list} {join}", Exec, []Host{{"gpu1", 0}, {"gpu2", 4}}, func(p Plan) any { return p.template },
			[]string{"mpirun", "-np", "{count}", "--host", "{list}", "{join}"}},
		{`exec[pod-0] sh -c "a && {command} {{x}}"`, Exec, []Host{{"pod-0", 0}}, func(p Plan) any { return p.template },
			[]string{"sh", "-c", "a && {command} {{x}}"}},
		{"exec[3] flux run -N {count} {join:/scratch}", Exec, []Host{{}, {}, {}}, nil, nil},
		{"exec[2] torchrun --no-python dipls join --env", Exec, []Host{{}, {}}, nil, nil},
		{"join[2]", Join, []Host{{}, {}}, nil, nil},
		{"join[gpu[1-2]:4] /scratch", Join, []Host{{"gpu1", 4}, {"gpu2", 4}}, func(p Plan) any { return p.dir }, "/scratch"},
		{"slurmhost,executor,join1", SSH, []Host{{"slurmhost", 0}, {"executor", 0}, {"join1", 0}}, nil, nil},
	} {
		p, err := Parse(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if p.Engine != c.engine || !reflect.DeepEqual(p.Hosts, c.hosts) {
			t.Errorf("%q: %s %+v, want %s %+v", c.text, p.Engine, p.Hosts, c.engine, c.hosts)
		}
		if c.check != nil {
			if got := c.check(p); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q: %q, want %q", c.text, got, c.want)
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		at   string // what follows the place of the error
		says string
	}{
		{"", "", "no hosts"},
		{"  ", "  ", "no hosts"},
		{"gpu1,,gpu2", ",gpu2", "a host is missing"},
		{"gpu1,", "", "a host is missing"},
		{"gpu1 gpu2", " gpu2", "no name of a host; between hosts stand commas"},
		{"ü,gpu1 gpu2", " gpu2", "no name of a host"},
		{"gpu1,gpu1", "gpu1", "twice"},
		{"gpu[1-3],gpu2", "gpu2", "twice"},
		{"gpu1:x", ":x", `"x" is neither a port nor a number of ranks`},
		{"gpu1:0", ":0", "neither"},
		{"gpu1:2222", ":2222", "me@gpu1:2222"},
		{"me@gpu1:1:2:3", ":1:2:3", "too many colons"},
		{"fe80::1", "::1", "neither"},
		{"::1", "::1", "in brackets"},
		{"[fe80::1", "[fe80::1", "not closed"},
		{"[gpu1]", "[gpu1]", "IPv6"},
		{"gpu[1-", "[1-", "not closed"},
		{"gpu[3-1]", "3-1]", "no range"},
		{"gpu[1-99999]", "1-99999]", "more than 4096 hosts"},
		{"gpu[0-9223372036854775807]", "0-9223372036854775807]", "more than 4096 hosts"},
		{"[-l:1]", "[-l:1]", "IPv6"},
		{"a[1-9999999999999999999]", "1-9999999999999999999]", "no range"},
		{"-oProxyCommand=x", "-oProxyCommand=x", "no name of a host"},
		{"-a@gpu1", "-a@gpu1", "no user's name"},
		{"gpu1,-l", "-l", "no name of a host"},
		{"$(reboot)", "$(reboot)", "no name of a host"},
		{"slurm python x.py", "python x.py", "salloc"},
		{"slurm --no-shell -N 2", "--no-shell -N 2", "outlive"},
		{"slurm --comment 'a", "'a", "quote"},
		{"exec mpirun {join}", " mpirun {join}", "exec[gpu1,gpu2]"},
		{"exec[gpu1", "[gpu1", "not closed"},
		{"exec[gpu1]", "", "command is missing"},
		{"exec[0] run {join}", "0] run {join}", "from 1 to"},
		{"exec[gpu1] mpirun python", "mpirun python", "no {join}"},
		{"exec[gpu1] mpirun {jion}", "{jion}", "{jion}: the names in braces are command, count, host, join, list"},
		{"exec[gpu1] sh -c 'x {join}'", "{join}'", "{command}"},
		{"exec[2] mpirun --host {list} {join}", "{list} {join}", "names of the hosts"},
		{"exec[me@gpu1] mpirun {join}", "me@gpu1] mpirun {join}", "for ssh"},
		{"join", "", "join[gpu1,gpu2]"},
		{"join[2] /a /b", "/b", "one folder"},
	} {
		_, err := Parse(c.text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if rest := c.text[syntax.At:]; rest != c.at || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, before %q; want %q before %q", c.text, err, rest, c.says, c.at)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("me@gpu[1-4]:22:8,[::1]:4")
	f.Add("exec[gpu1] mpirun '{host}' {join}")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err == nil && p.Engine != Slurm && len(p.Hosts) == 0 {
			t.Errorf("%q has no hosts", text)
		}
		for _, h := range p.Hosts {
			if strings.HasPrefix(h.Name, "-") {
				t.Errorf("%q names %q, which is a flag", text, h.Name)
			}
		}
		for _, a := range p.addresses {
			if strings.HasPrefix(a.user, "-") {
				t.Errorf("%q names %q, which is a flag", text, a.user)
			}
		}
		if err != nil {
			_ = err.Error() // the place is one of the text's
		}
	})
}
