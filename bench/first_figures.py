"""First figures: this project and ipyparallel side by side, in one run, on one interpreter.

Run it with `make bench`. Every figure is measured in alternation (this project, then ipyparallel, then again), so that
whatever else the machine does falls on both; what counts is the ratio of the medians.

Figures, all on RANKS processes that have torch imported:

start      seconds from nothing to the first cell done on every process
restart    seconds to replace all processes of a warm pool, until the first cell is done on every new one
pass       milliseconds from sending `pass` to all processes until the last reply
lines      seconds until LINES printed lines of each process are with the client
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def dipls(binary, ranks, passes, lines):
    """One round of this project: the figures of bench/figures, which drives dipls' own packages from Go."""
    done = subprocess.run(
        [binary, "-python", sys.executable, "-ranks", str(ranks), "-passes", str(passes), "-lines", str(lines)],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def ipyparallel(ranks, passes, lines):
    """One round of ipyparallel through its own client."""
    import ipyparallel as ipp

    figures = {}

    def start():
        # Connection files, logs and engines' working directories stay out of the user's profile.
        cluster = ipp.Cluster(n=ranks, profile_dir=tempfile.mkdtemp(prefix="bench-ipp-"), log_level=40)
        client = cluster.start_and_connect_sync(activate=False)
        view = client[:]
        view.execute("import torch", block=True)
        return cluster, client, view

    begin = time.perf_counter()
    cluster, client, view = start()
    figures["start"] = time.perf_counter() - begin
    try:
        view.execute("pass", block=True)
        figures["pass"] = []
        for _ in range(passes):
            begin = time.perf_counter()
            view.execute("pass", block=True)
            figures["pass"].append((time.perf_counter() - begin) * 1000)

        begin = time.perf_counter()
        result = view.execute(f"for i in range({lines}): print('line', i)", silent=False)
        result.wait_for_output()
        result.get()
        figures["lines"] = time.perf_counter() - begin
        delivered = sum(text.count("\n") for text in result.stdout)
        assert delivered == ranks * lines, f"ipyparallel delivered {delivered} of {ranks * lines} lines"
    finally:
        begin = time.perf_counter()
        client.close()
        cluster.stop_cluster_sync()
    # ipyparallel has no faster way to give a user fresh engines than to stop the cluster and start one.
    cluster, client, view = start()
    figures["restart"] = time.perf_counter() - begin
    client.close()
    cluster.stop_cluster_sync()
    return figures


def median(rounds, figure):
    samples = []
    for one in rounds:
        samples += one[figure] if isinstance(one[figure], list) else [one[figure]]
    return statistics.median(samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=200)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--binary", default=ROOT / "bin" / "figures", help="bench/figures, built")
    parser.add_argument("--json", help="write the raw samples here")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = "1"
    ours, theirs = [], []
    for number in range(1, args.rounds + 1):
        print(f"round {number} of {args.rounds}: dipls", file=sys.stderr)
        ours.append(dipls(args.binary, args.ranks, args.passes, args.lines))
        print(f"round {number} of {args.rounds}: ipyparallel", file=sys.stderr)
        theirs.append(ipyparallel(args.ranks, args.passes, args.lines))

    import ipyparallel as ipp
    import torch

    print(
        f"{args.ranks} ranks, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"ipyparallel {ipp.__version__}; medians of {args.rounds} rounds\n"
    )
    print("| figure | dipls | ipyparallel | ratio |")
    print("|---|---|---|---|")
    for figure, unit in (("start", "s"), ("restart", "s"), ("pass", "ms"), ("lines", "s")):
        a, b = median(ours, figure), median(theirs, figure)
        print(f"| {figure} | {a:.2f} {unit} | {b:.2f} {unit} | {b / a:.1f} × |")
    if args.json:
        Path(args.json).write_text(json.dumps({"dipls": ours, "ipyparallel": theirs}, indent=1))


if __name__ == "__main__":
    main()
