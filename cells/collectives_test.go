package cells

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestMarksOfCollectives(t *testing.T) {
	for _, name := range slices.Concat(wrappers, slices.Collect(maps.Keys(collectives)), slices.Collect(maps.Keys(collectiveFamilies))) {
		if !mayCollect(name) {
			t.Errorf("%s has none of %q", name, marks)
		}
	}
}

func TestCollectives(t *testing.T) {
	for code, want := range map[string]string{
		"dist.all_reduce(x)":                                                    "all_reduce",
		"torch.distributed.barrier()\ndist.barrier()":                           "barrier",
		"all_gather_into_tensor(a, b); dist.broadcast_object_list(c)":           "all_gather_into_tensor, broadcast_object_list",
		"import torch.distributed as td\ntd.reduce(x, 0)":                       "reduce",
		"td.reduce(x, 0)":                                                       "",
		"model = DDP(model)":                                                    "DDP",
		"nn.parallel.DistributedDataParallel(model)":                            "DistributedDataParallel",
		"x.gather(0, i); functools.reduce(f, x); reduce(f, x)":                  "",
		"from torch.distributed import reduce\nreduce(x, 0)":                    "reduce",
		"# dist.barrier()\n'dist.barrier()'":                                    "",
		"dist.get_rank()":                                                       "",
		"dist.all_reduce(x, group=g); dist.barrier(g); DDP(m, process_group=g)": "",
		"dist.all_reduce(x, dist.ReduceOp.SUM, g)\ndist.broadcast(x, 0, g)":     "",
		"dist.all_reduce(x, group=None); dist.barrier(None)":                    "all_reduce, barrier",
		"dist.barrier(async_op=True, device_ids=[0])":                           "barrier",
		"dist.all_reduce(x, **options)":                                         "",
		"def f():\n    dist.barrier()":                                          "",
		"def f():\n    dist.barrier()\nf()":                                     "barrier",
		"def f():\n    f()\n    dist.barrier()\ndef g(): f()\nfor i in x: g()":  "barrier",
		"class A:\n    def f(self):\n        dist.barrier()\nA().f()":           "",
	} {
		if got := strings.Join(Collectives(code), ", "); got != want {
			t.Errorf("%s\ncalls %q, want %q", code, got, want)
		}
	}
}

// What → and ← enclose is told of, and nothing else.
func TestCollectivesThatSomeRanksMiss(t *testing.T) {
	const under = "barrier waits for every rank, and only some come here: "
	for _, tt := range []struct{ text, want string }{
		{"if rank == 0:\n    →dist.barrier←()\n", under + "if rank == 0"},
		{"if os.environ['RANK'] == '0':\n\tx = 1\n\t→dist.barrier←()", under + "if os.environ['RANK'] == '0'"},
		{"if self.is_main_process:\n  with open(f) as g:\n    for x in y:\n      →dist.barrier←()\n", under + "if self.is_main_process"},
		{"main = rank == 0\nif main and step % 10 == 0:\n    →dist.barrier←()\n", under + "if main and step % 10 == 0"},
		{"me = int(os.environ[\"LOCAL_RANK\"])\nif not me:\n    →dist.barrier←()\n", under + "if not me"},
		{"while rank < n:\n    →dist.barrier←()\n    n -= 1\n", under + "while rank < n"},
		{"if rank == 0:\n    pass\nelif rank == 1:\n    →dist.barrier←()\nelse:\n    pass\n", under + "if rank == 0"},
		{"async def f():\n  if (\n      rank\n      == 0\n  ):\n    →dist.barrier←()\n", under + "if ( rank == 0 )"},
		{"é = 1\r\nif rank == 0:\r\n    →dist.barrier←()\r\n", under + "if rank == 0"},
		{"if self.global_rank == 0 and a_condition_that_takes_many_words_to_say(x):\n  →dist.barrier←()", under + "if self.global_rank == 0 and a_conditio…"},
		{"if rank == 0:\n    →dist.barrier←()\n    print(1)\nelse:\n    print(2); x = [\n1]\ny = 2\n", under + "if rank == 0"},
		{"if rank == 0:\n  if x:\n    →dist.barrier←()\n  else:\n    pass\n", under + "if rank == 0"},
		{"f = lambda: 0\nif (lambda r: r)(rank) == 0: →dist.barrier←()", under + "if (lambda r: r)(rank) == 0"},
		{"if dist.get_rank() == 0: →dist.all_reduce←(x)\n", "all_reduce waits for every rank, and only some come here: if dist.get_rank() == 0"},
		{"if rank == 0:\n    m = →DDP←(net)\n", "DDP waits for every rank, and only some come here: if rank == 0"},
		{
			"def validate():\n    dist.all_reduce(loss)\nif rank == 0:\n    →validate←()\n",
			"validate calls all_reduce, which waits for every rank, and only some come here: if rank == 0",
		},
		{
			"def f():\n    if rank != 0:\n        return\n    save()\n    →dist.barrier←()\nf()\n",
			"barrier waits for every rank, and some have left before: return under if rank != 0",
		},
		{
			"for x in data:\n    if rank == 1 and x is None:\n        continue\n    with g:\n        →dist.all_reduce←(x)\n",
			"all_reduce waits for every rank, and some have left before: continue under if rank == 1 and x is None",
		},
		{
			"for x in data:\n    →dist.all_reduce←(x)\n    if rank == 1:\n        break\n",
			"all_reduce waits for every rank, and some have left before: break under if rank == 1",
		},
		{"if rank:\n    dist.barrier(g)\nload()\nif rank == 0:\n    →dist.barrier←()\n", under + "if rank == 0"},
		{
			"def f():\n    try:\n        if rank != 0:\n            return\n        →dist.all_reduce←(x)\n" +
				"    except E:\n        pass\n    finally:\n        dist.barrier()\n",
			"all_reduce waits for every rank, and some have left before: return under if rank != 0",
		},
		{
			"def f():\n    try:\n        if rank != 0:\n            return\n    finally:\n        close()\n    →dist.barrier←()\n",
			"barrier waits for every rank, and some have left before: return under if rank != 0",
		},
		{
			"def f():\n    try:\n        x()\n    finally:\n        if rank != 0:\n            return\n        →dist.barrier←()\n",
			"barrier waits for every rank, and some have left before: return under if rank != 0",
		},
		{"if rank == 0:\n    try:\n        x()\n    finally:\n        →dist.barrier←()\n", under + "if rank == 0"},
		{"if rank:\n    sys.exit()\n→dist.barrier←()\n", "barrier waits for every rank, and some have left before: sys.exit() under if rank"},
		{
			"def f():\n    for x in y:\n        if rank == 0:\n            return\n        →dist.all_reduce←(x)\n",
			"all_reduce waits for every rank, and some have left before: return under if rank == 0",
		},
		{"# %% A title target=\"ranks:0-2\"\n→dist.all_reduce←(x)\n", "all_reduce waits for every rank of the pool, and this cell runs on ranks 0-2 only"},
		{"# %%\n# %%dip -r 0\n→dist.all_reduce←(x)\n", "all_reduce waits for every rank of the pool, and this cell runs on rank 0 only"},
	} {
		before, rest, _ := strings.Cut(tt.text, "→")
		inside, after, _ := strings.Cut(rest, "←")
		problems := Parse(before + inside + after).Problems()
		if len(problems) != 1 {
			t.Errorf("%s\n%d problems: %v", tt.text, len(problems), problems)
			continue
		}
		p := problems[0]
		if p.Message != tt.want || p.Severity != Warning || p.Range != (Range{len(before), len(before) + len(inside)}) {
			t.Errorf("%s\ntells %+v, want %q", tt.text, p, tt.want)
		}
	}
}

func TestCollectivesThatEveryRankReaches(t *testing.T) {
	for _, text := range []string{
		"dist.barrier()\n",
		"if rank == 0:\n    print(1)\ndist.barrier()\n",
		"if rank == 0:\n    dist.send(x, 1)\nelse:\n    dist.recv(x, 0)\n",
		"if rank == 0:\n    dist.scatter(x, xs)\nelse:\n    dist.scatter(x)\n",
		"if rank == 0:\n    load()\n    dist.barrier()\nelse:\n    dist.barrier()\n    load()\n",
		"if rank == 0:\n    dist.all_reduce(x, group=g)\n",
		"if rank in (0, 1): dist.barrier(g)\n",
		"if world_size > 1:\n    dist.barrier()\n",
		"if step % 100 == 0:\n    dist.all_reduce(x)\n",
		"if rank is not None:\n    dist.barrier()\n",
		"if local_rank != -1:\n    model = DDP(model)\n",
		"if args.rank >= 0: dist.barrier()\n",
		"if lora_rank > 0:\n    dist.barrier()\n",
		"ranks = [0, 1]\nif ranks:\n    dist.barrier()\n",
		"if rank == 0:\n    dist.barrier()  # dipls: ignore\n",
		"if rank == 0:  # dipls: ignore\n    dist.barrier()\n",
		"def f():\n    if rank != 0:\n        return  # dipls: ignore\n    dist.barrier()\n",
		"def f():\n    if rank != 0:\n        dist.barrier()\n        return\n    save()\n    dist.barrier()\n",
		"def f():\n    if rank == 0:\n        return 1\n    return 2\ndist.barrier()\n",
		"def f():\n    try:\n        if rank != 0:\n            return\n        save()\n    finally:\n        dist.barrier()\n",
		"for x in data:\n    try:\n        y(x)\n    except E:\n        if rank == 0:\n            continue\n" +
			"    else:\n        z()\n    finally:\n        dist.all_reduce(x)\n",
		"if rank >= world_size:\n    raise ValueError(rank)\ndist.barrier()\n",
		"if rank == 0:\n    def f():\n        dist.barrier()\n",
		"for x in data:\n    if rank == 0 and x:\n        log(x)\n        continue\n    y(x)\ndist.barrier()\n",
		"x = shards[rank]\nif x is not None:\n    dist.all_reduce(x)\n",
		"text = 'if rank == 0: dist.barrier()'\n# if rank == 0:\n#     dist.barrier()\n",
		"#dip_locally\nif rank == 0:\n    dist.barrier()\n",
		"# %% [markdown]\nif rank == 0:\n    dist.barrier()\n",
		"# %%\n# %%bash\nif rank == 0:\n    dist.barrier()\n",
		"# %%\n# %%dip -r all\ndist.barrier()\n",
		"# %%\n# %%dip -r 0-1\ndist.barrier(g)\ndef f():\n    dist.barrier()\n",
		"# %%\n# %%dip -r 0\ndist.all_reduce(x)  # dipls: ignore\n",
		"for x in y:\n    z(x)\nelse:\n    dist.barrier()\n",
		"if rank != 0:\n    dist.barrier()\nload()\nif rank == 0:\n    dist.barrier()\n",
		"def first(local_rank):\n    if local_rank not in [-1, 0]:\n        dist.barrier(device_ids=[0])\n" +
			"    yield\n    if local_rank == 0:\n        dist.barrier(device_ids=[0])\n",
	} {
		for _, p := range Parse(text).Problems() {
			if p.Code == RankCondition || p.Code == OnSomeRanks {
				t.Errorf("%s\ntells %+v", text, p)
			}
		}
	}
}

func TestCollectivesOfFunctionsThatCallEachOther(t *testing.T) {
	var b strings.Builder
	const functions = 40 // the ways through them have no end that one could wait for
	for i := range functions {
		fmt.Fprintf(&b, "def f%d():\n", i)
		for j := range functions {
			fmt.Fprintf(&b, "    f%d()\n", j)
		}
		b.WriteString("    dist.barrier()\n")
	}
	code := b.String() + "if rank == 0:\n    f0()\n"
	if found := Collectives(code); !slices.Equal(found, []string{"barrier"}) {
		t.Errorf("collectives are %q", found)
	}
	f := Parse("# %%\n" + code)
	var told []string
	for c := range f.Cells() {
		for _, p := range c.Problems() {
			told = append(told, p.Message)
		}
	}
	if want := []string{"f0 calls barrier, which waits for every rank, and only some come here: if rank == 0"}; !slices.Equal(told, want) {
		t.Errorf("told is %q, want %q", told, want)
	}
}
