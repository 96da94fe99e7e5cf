package cells

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func names(calls []call) (all []string) {
	for _, c := range calls {
		all = append(all, c.Name)
	}
	return all
}

func TestCalls(t *testing.T) {
	tests := map[string][]string{
		"":                                     nil,
		"barrier":                              nil,
		"barrier()":                            {"barrier"},
		"dist.all_reduce(t)":                   {"dist.all_reduce"},
		"torch.distributed.barrier (  )":       {"torch.distributed.barrier"},
		"torch . distributed \\\n . barrier()": {"torch.distributed.barrier"},
		"barrier\n(x)":                         nil,
		"(barrier\n(x))":                       {"barrier"},
		"(dist # why(\n  .barrier\n())":        {"dist.barrier"},
		"f(g(h))(i)":                           {"f", "g"},
		"f().barrier()":                        {"f", ".barrier"},
		"x[0] . a.b()":                         {".a.b"},
		"''.join(x)":                           {".join"},
		"'barrier()' # barrier()":              nil,
		"'''\nbarrier()\n''' + barrier()":      {"barrier"},
		"f'{barrier()} barrier() {{f()}}'":     {"barrier"},
		"f'{a():{b()}}'":                       {"a", "b"},
		"rb'x'(1)":                             nil,
		"def barrier(): pass":                  nil,
		"class barrier(x): pass":               nil,
		"async def f(x=g()): await (x)":        {"g"},
		"if (x) and (y) or not(z): return(1)":  nil,
		"print (1)":                            {"print"},
		"@wraps(f)\ndef g(): pass":             {"wraps"},
		"x.if_(1)":                             {"x.if_"},
		"x1y(0xf, 1.5, 1e5)":                   {"x1y"},
		"größe.é(1)":                           {"größe.é"},
		"f[int](x)":                            nil,
		"x = \\\nf()\ng\n(y)":                  {"f"},
		"match.group()":                        {"match.group"},
		"x = barrier; (y)":                     nil,
		"%time barrier()\n!ls (\n?f(\ng()":     {"g"},
		"%dipush a \\\n b()\ng()":              {"g"},
		"\n%%bash\necho $(f())":                nil,
		"%%time\nf()":                          {"f"},
		"f('\ng()":                             {"f", "g"},
		"f(\n\ng(":                             {"f", "g"},
	}
	for source, want := range tests {
		if diff := cmp.Diff(want, names(callsIn(codeOf(source)))); diff != "" {
			t.Errorf("%q: want is -\n%s", source, diff)
		}
	}
	got := callsIn(codeOf("f().x . y(dist.barrier())"))
	want := []call{{"f", Range{0, 1}}, {".x.y", Range{4, 9}}, {"dist.barrier", Range{10, 22}}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
