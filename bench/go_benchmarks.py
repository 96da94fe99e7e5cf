"""Runs a Go benchmark of this project and prints its metrics as samples: keystroke or fanout."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from samples import emit, plan

ROOT = Path(__file__).resolve().parent.parent

# A benchmark's metric and the figure that it is; # stands for the benchmark's variant, the number of ranks.
FANOUT = {
    ("Dispatch", "µs-cpu/rank"): "fake_cpu_#",
    ("Dispatch", "p50-ms"): "fake_dispatch_#",
    ("Dispatch", "kB/rank"): "fake_memory_#",
    ("Line", "µs-cpu/rank"): "fake_line_#",
    ("FanIn", "MB/s"): "fake_fanin_#",
    ("Hosts", "µs-cpu/join"): "fake_hosts_join",
    ("Hosts", "µs-cpu/rank"): "fake_hosts_cpu",
    ("Hosts", "p50-ms"): "fake_hosts_dispatch",
    ("Hosts", "kB/host"): "fake_hosts_memory",
}


def benchmark(package, pattern, times, count=1):
    """The metrics of `go test -bench`: yields (benchmark, variant, unit, value)."""
    command = [
        "go",
        "test",
        f"./bench/{package}",
        "-run=^$",
        f"-bench={pattern}",
        f"-benchtime={times}x",
        f"-count={count}",
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    sys.stderr.write(done.stdout)
    done.check_returncode()
    for name, variant, metrics in re.findall(
        r"^Benchmark(\w+?)(?:/([\dx]+))?(?:-\d+)?\s+\d+\s+(.*)$", done.stdout, re.M
    ):
        for value, unit in re.findall(r"([\d.e+-]+) (\S+)", metrics):
            yield name, variant, unit, float(value)


def keystroke(p):
    file = Path("keystrokes.json").resolve()
    os.environ["DIPLS_KEYSTROKES"] = str(file)  # every sample; the benchmark itself prints only quantiles
    list(benchmark("keystroke", "^BenchmarkKeystroke$", p["keystrokes"]))
    emit("keystroke", json.loads(file.read_text()))


def fanout(p):
    samples, hosts = {}, f"{p['fake_hosts']}x8"
    for pattern, variants, times in (
        ("Dispatch", "256|1024", p["dispatches"]),
        ("Line", "256|1024", p["dispatches"] // 10),
        ("FanIn", "256|1024", p["counts"]),
        ("Hosts", hosts, p["dispatches"]),
    ):
        for name, ranks, unit, value in benchmark("fanout", f"^Benchmark{pattern}$/^({variants})$", times, p["counts"]):
            if figure := FANOUT.get((name, unit)):
                samples.setdefault(figure.replace("#", ranks), []).append(value)
    for figure, values in samples.items():
        emit(figure, values)


if __name__ == "__main__":
    {"keystroke": keystroke, "fanout": fanout}[sys.argv[2]](plan())
