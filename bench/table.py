"""The figures: which there are, what they are to reach, and how samples become the table."""

import statistics
from dataclasses import dataclass

# Why figures are not reached, as their profiles say, by how their keys begin; docs/performance.md says more.
REASONS = {
    "push": "however small the variable, 7 ms of a core: three messages for each rank, the cell and its magic",
    "pull_64000000": "64 MB in huge pages, which a virtual machine that has given them back takes long to find again",
    "pull": "six messages one after the other, and the cell with its magic: 3 ms of a core, however small the variable",
    "copy": "the constant part of a push, and pages that the kernel has to find first where it has no huge ones",
    "hosts_later": "four hosts share this machine's cores: for each pass, the agent of each takes 0.25 ms of a core",
    "hosts_push": "hosts share this machine's cores: each takes 2.6 s of a core to take in and pass on a GB",
    "pass": "0.6 to 0.8 ms of a core per rank, four fifths of them the rank's own Python, IPython's run_cell first",
}


def median(samples):
    return statistics.median(samples)


def p95(samples):
    return sorted(samples)[min(len(samples) - 1, len(samples) * 95 // 100)]


def p99(samples):
    return sorted(samples)[min(len(samples) - 1, len(samples) * 99 // 100)]


@dataclass(frozen=True)
class Figure:
    """A line of the table: a statistic of samples of dipls, beside the same of a peer."""

    name: str
    unit: str
    key: str  # of dipls' samples
    peer: str = ""
    peer_key: str = ""  # of the peer's samples, if they are called otherwise
    statistic: object = median
    faster: float = 0  # goal: the peer's value is at least this many times ours
    most: float = 0  # goal: our value is at most that
    share: float = 0  # goal: our value is at most this many times the peer's
    paired: bool = False  # samples were taken in turn: each of ours is compared with one of the peer's
    needs: str = ""  # what the goal supposes; it is not judged where that is not so


def figures(p, versions):
    """The lines of the table for a plan (see PLANS in run.py)."""
    n = p["ranks"]
    yield Figure(f"nothing → first cell done on {n} ranks, torch imported", "s", "start", "ipyparallel", faster=4)
    yield Figure("the same", "s", "start", "nbdistributed")
    yield Figure(
        "restart of a warm pool, torch imported, process group joined",
        "s",
        "restart",
        "ipyparallel",
        faster=10,
        most=0.6,
    )
    old = int(versions.get("torch", "0").split(".")[0]) < 2
    yield Figure(
        "restart up to the first DDP step",
        "s",
        "restart_ddp",
        "ipyparallel",
        faster=10,
        most=0.6,
        needs="torch ≥ 2" if old else "",
    )
    for statistic, label in ((median, "p50"), (p99, "p99")):
        yield Figure(f"`pass` on {n} ranks, {label}", "ms", "pass", "ipyparallel", statistic=statistic, faster=8)
        yield Figure(
            f"`pass` on {n} ranks, {label}, BroadcastView",
            "ms",
            "pass",
            "ipyparallel",
            "pass_broadcast",
            statistic=statistic,
            faster=8,
        )
    for size in p["sizes"]:
        for statistic, label in ((median, "p50"), (p99, "p99")):
            name = f"`pass` on {size} {'rank' if size == 1 else 'ranks'} without torch, {label}"
            yield Figure(name, "ms", f"pass_{size}", "ipyparallel", statistic=statistic, faster=8)
    yield Figure(f"`pass` on {n} ranks through a session in the same process, p50", "ms", "pass_own")
    yield Figure("the same, attached to a session in another process", "ms", "pass_attached")
    yield Figure("the same: how much later", "ms", "attached_later", most=0.3)
    yield Figure("attaching to a session, with its history", "ms", "attach", most=100)
    yield Figure("`dipls lsp` starts → lenses, session of its own", "ms", "window_own")
    yield Figure("the same, and attached to a living session", "ms", "window_attached", most=100)
    yield Figure("the same, and 2 MB of output that was missed", "ms", "window_past")
    yield Figure("memory of an idle session beside its Python (PSS)", "MB", "session_memory", most=30)
    yield Figure("`pass`: slope per rank", "ms", "slope", "ipyparallel")
    yield Figure(f"`pass` on {n} ranks, p50", "ms", "pass", "nbdistributed")
    yield Figure("`pass` on one rank, p50", "ms", "kernel_pass", "ipykernel")
    yield Figure("first printed byte → event out of dipls, p50", "ms", "first_byte", "ipykernel", most=5)
    yield Figure("the same, flushed by the cell", "ms", "first_byte", "ipykernel", "first_byte_flushed")
    yield Figure(f"{n} × {p['lines']:,} lines, journaled and delivered", "s", "lines", "ipyparallel", faster=2)
    yield Figure(f"1 × {p['lines']:,} lines", "s", "kernel_lines", "ipykernel")
    if p["flood"]:
        total = size_name(p["flood"])
        yield Figure(f"{n} ranks print {total} in total: time", "s", "flood")
        yield Figure(f"{n} ranks print {total} in total: growth of the server", "MB", "flood_server", most=64)
        yield Figure(f"{n} ranks print {total} in total: growth of all ranks", "MB", "flood_ranks", most=64)
    for size in p["bytes"]:
        for suffix, view in (("", ""), ("_broadcast", ", BroadcastView")):
            name = f"push of {size_name(size)} to {n} ranks{view}"
            yield Figure(
                name, "ms", f"push_{size}", "ipyparallel", f"push{suffix}_{size}", faster=10 if size >= 1e6 else 0
            )
    copied = max(size for size in p["bytes"] if size <= 256e6)
    yield Figure(
        f"push of {size_name(copied)} to {n} ranks", "ms", f"push_{copied}", "one copy", f"copy_{copied}", share=2
    )
    for size in p["bytes"]:
        yield Figure(f"pull of {size_name(size)}", "ms", f"pull_{size}", "ipyparallel", faster=5 if size >= 1e6 else 0)
    yield Figure(f"memory of {n} idle ranks with torch (PSS, with the node)", "MB", "memory", "ipyparallel", share=0.5)
    yield Figure("the same, with server or controller and client", "MB", "memory_all", "ipyparallel")
    yield Figure("the same, workers alone", "MB", "memory", "nbdistributed")
    name = f"ranks of {n} wait for one → told, beyond `dip.hang.after`"
    yield Figure(name, "s", "told", statistic=max, most=2)
    yield Figure(f"looks at {n} ranks that hang, every 10 s", "% of a core", "looks", most=0.1)
    name = f"{n} ranks are interrupted, hung or training → free and in agreement, p95"
    yield Figure(name, "s", "freed", statistic=p95, most=4 if old else 2)
    for what, key, share in (
        ("an epoch", "train", 1.01),
        ("an epoch's processor time, a rank's main thread", "train_main", 1.01),
        ("an epoch's processor time, all processes", "train_all", 0),
    ):
        name = f"DDP training on {p['train_ranks']} ranks: {what}"
        yield Figure(name, "ms", key, "torchrun", share=share, paired=True)
    yield Figure("the same: the whole command", "s", "train_wall", "torchrun")
    yield from figures_of_hosts(p)
    for statistic, label, most in ((median, "p50", 0), (p99, "p99", 10)):
        yield Figure(
            f"keystroke → fresh lenses and diagnostics, 10,000 cells, {label}",
            "ms",
            "keystroke",
            statistic=statistic,
            most=most,
        )
    for size in FAKE_SIZES:
        yield Figure(f"{size} fake ranks: server CPU per rank and dispatch", "µs", f"fake_cpu_{size}", most=50)
        yield Figure(f"{size} fake ranks: dispatch, p50", "ms", f"fake_dispatch_{size}")
        yield Figure(f"{size} fake ranks: memory per rank", "kB", f"fake_memory_{size}")
        yield Figure(f"{size} fake ranks: a printed line, server CPU per rank", "µs", f"fake_line_{size}")
        yield Figure(f"{size} fake ranks: output fan-in", "MB/s", f"fake_fanin_{size}")
    yield Figure("server CPU per rank, 1,024 fake ranks against 256", "×", "fake_linear", most=1.25)
    name = f"{p['fake_hosts']} fake hosts of 8 ranks"
    yield Figure(f"{name}: server CPU per host that joins", "µs", "fake_hosts_join", most=1000)
    # Half of what a rank cost before there were hosts: 26.7 µs.
    yield Figure(f"{name}: server CPU per rank and dispatch", "µs", "fake_hosts_cpu", most=13)
    yield Figure(f"{name}: dispatch, p50", "ms", "fake_hosts_dispatch")
    yield Figure(f"{name}: memory per host", "kB", "fake_hosts_memory")
    yield Figure("server CPU per rank, fake hosts against 1,024 fake ranks", "×", "fake_hosts_share")


def figures_of_hosts(p):
    """Pools over several hosts. They share a machine's cores, so a push is judged where the network is the slower."""
    n, count = p["ranks"], len(p["hosts"])
    yield Figure(f"`pass` on {n} ranks of {count} hosts, by ssh, p50", "ms", "hosts_pass", "ipyparallel")
    yield Figure(f"the same on {n} ranks of one host, taking turns", "ms", "hosts_pass_here")
    yield Figure("a round trip between two hosts", "ms", "hosts_trip")
    yield Figure("`pass` on ranks of hosts: how much later, beyond the round trip", "ms", "hosts_later", most=1)
    name = f"nothing → first cell done on {n} ranks of {count} hosts, torch imported"
    yield Figure(name, "s", "hosts_start", "ipyparallel")
    yield Figure(f"the import of torch alone, {count} times at once", "s", "hosts_import")
    yield Figure("the start of hosts beyond the import", "s", "hosts_beyond", most=3)
    for network in p["networks"]:
        name = f"push of {size_name(p['hosts_bytes'])} to {n} ranks of {count} hosts"
        if network == "unlimited":
            yield Figure(name, "ms", f"hosts_push_{network}", "one connection")
        else:
            name += f", which send {network} each"
            yield Figure(name, "ms", f"hosts_push_{network}", "one connection", share=1.3)


FAKE_SIZES = (256, 1024)


def size_name(size):
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} bytes"


class Samples:
    """Samples by peer and figure, round by round, and the failures."""

    def __init__(self):
        self.rounds = {}  # (who, figure) → a list of samples for each round
        self.failures = []  # (who, figure, why it is missing); a figure that is None stands for all that are missing

    def add(self, who, figure, samples):
        self.rounds.setdefault((who, figure), []).append(samples)

    def fail(self, who, figure, reason):
        if (who, figure, reason) not in self.failures:
            self.failures.append((who, figure, reason))

    def why_missing(self, who, key):
        """What is known of why a peer has no samples of a figure. One that failed may be the first of several."""
        return "; ".join(
            f"{who}: {reason}"
            for name, figure, reason in self.failures
            if name == who and (figure is None or any(key.startswith(word) for word in figure.split(" and ")))
        )

    def of(self, who, figure):
        """All samples, of all rounds."""
        return [sample for samples in self.rounds.get((who, figure), ()) for sample in samples]

    def derive(self, p):
        """The figures that are made of others."""
        for who in ("dipls", "ipyparallel"):
            points = [(size, median(values)) for size in p["sizes"] if (values := self.of(who, f"pass_{size}"))]
            if len(points) > 1:
                self.rounds[who, "slope"] = [[statistics.linear_regression(*zip(*points)).slope]]
        own, attached = (self.of("dipls", f"pass_{where}") for where in ("own", "attached"))
        if own and attached:
            self.rounds["dipls", "attached_later"] = [[median(attached) - median(own)]]
        far, near, trip = (self.of("dipls", f"hosts_{what}") for what in ("pass", "pass_here", "trip"))
        if far and near and trip:
            self.rounds["dipls", "hosts_later"] = [[median(far) - median(near) - median(trip)]]
        start, torch = (self.of("dipls", f"hosts_{what}") for what in ("start", "import"))
        if start and torch:
            self.rounds["dipls", "hosts_beyond"] = [[median(start) - median(torch)]]
        small, large = (self.of("dipls", f"fake_cpu_{size}") for size in FAKE_SIZES)
        if small and large:
            self.rounds["dipls", "fake_linear"] = [[median(large) / median(small)]]
        hosts = self.of("dipls", "fake_hosts_cpu")
        if hosts and large:
            self.rounds["dipls", "fake_hosts_share"] = [[median(hosts) / median(large)]]

    def as_json(self):
        return {
            "samples": [
                {"who": who, "figure": figure, "rounds": rounds} for (who, figure), rounds in self.rounds.items()
            ],
            "failures": [{"who": who, "figure": figure, "reason": reason} for who, figure, reason in self.failures],
        }


def lines(samples, p, versions):
    """The table, a dict for each line that was measured or failed."""
    for f in figures(p, versions):
        ours, theirs = samples.of("dipls", f.key), samples.of(f.peer, f.peer_key or f.key) if f.peer else []
        line = {"figure": f.name, "unit": f.unit, "peer": f.peer, "goal": goal(f)}
        if ours:
            line["ours"] = summary(samples.rounds["dipls", f.key], f.statistic)
        if theirs:
            line["theirs"] = summary(samples.rounds[f.peer, f.peer_key or f.key], f.statistic)
        if ours and theirs and f.paired:
            line.update(zip(("ratio", "ratio_low", "ratio_high"), paired(ours, theirs)))
        elif ours and theirs:
            line["ratio"] = line["theirs"]["value"] / line["ours"]["value"]
        if f.statistic is p99 and ours and len(ours) < ENOUGH:
            line["figure"] += f" (of {len(ours)} samples)"
        line["reached"], line["remark"] = verdict(f, line, samples)
        if ours or theirs or line["remark"]:
            yield line


# With fewer samples, a p99 is one or two outliers; the table says so.
ENOUGH = 200


def paired(ours, theirs):
    """The median of the ratios of pairs, and between what it lies at 95 %, whatever their distribution is."""
    ratios = sorted(b / a for a, b in zip(ours, theirs))
    rank = max(0, int((len(ratios) - 1.96 * len(ratios) ** 0.5) / 2))
    return median(ratios), ratios[rank], ratios[-1 - rank]


def summary(rounds, statistic):
    """A statistic and its spread: a median's quartiles, else the least and the greatest of the rounds."""
    ordered = sorted(sample for samples in rounds for sample in samples)
    around = ordered if statistic is median else sorted(statistic(samples) for samples in rounds if samples)
    quartile = len(around) // 4 if statistic is median else 0
    low, high = around[quartile], around[-1 - quartile]
    return {"value": statistic(ordered), "low": low, "high": high, "count": len(around)}


def goal(f):
    parts = []
    if f.faster:
        parts.append(f"≥ {f.faster:g} ×")
    if f.share:
        parts.append(f"≤ {f.share:g} × the peer's")
    if f.most:
        parts.append(f"≤ {f.most:g} {f.unit}")
    return ", ".join(parts) + (f" (with {f.needs})" if f.needs else "")


def verdict(f, line, samples):
    """Whether the goal is reached (None: there is no goal, or it is not known), and a remark."""
    sides = (("ours", "dipls", f.key), ("theirs", f.peer, f.peer_key or f.key))
    missing = "; ".join(why for side, who, key in sides if side not in line and (why := samples.why_missing(who, key)))
    if not line["goal"] or f.needs or "ours" not in line or ((f.faster or f.share) and "ratio" not in line):
        return None, missing
    if f.paired and line["ratio_low"] < 1 / f.share <= line["ratio_high"]:
        return None, f"cannot be told: {noise(line)}"
    reached = (
        (not f.faster or line["ratio"] >= f.faster)
        and (not f.share or line["ratio"] >= 1 / f.share)
        and (not f.most or line["ours"]["value"] <= f.most)
    )
    remarks = [missing if reached else reason(f), noise(line) if f.paired else ""]
    return reached, "; ".join(filter(None, remarks))


def noise(line):
    """What can be said of a ratio of pairs."""
    return f"the ratio is between {line['ratio_low']:.3f} and {line['ratio_high']:.3f} (95 %)"


def reason(f):
    key = f.peer_key or f.key
    return next((why for begin, why in REASONS.items() if key.startswith(begin)), "no profile has told why yet")


def markdown(description, table, plan_name, rounds):
    """bench/RESULTS.md."""
    m = description
    versions = " · ".join(f"{name} {version}" for name, version in m["versions"].items())
    text = [
        "# Results",
        "",
        f"Made by `make bench{'' if plan_name == 'full' else '-' + plan_name}` on {m['date']}: {m['cores']} cores "
        f"({m['cpu']}), {m['memory_gb']} GB of memory, {m['kernel']}; {m['load']} of the cores busy at the beginning.",
        "",
        versions,
        "",
        f"Medians of the samples of {rounds} round{'' if rounds == 1 else 's'}, in which the peers took turns; in "
        "parentheses, a median's quartiles, or the least and the greatest p99 of a round. The ratio is the peer's "
        "value by ours; for training, whose epochs were taken pair by pair, the median of the pairs' ratios. "
        "[results.json](results.json) has every sample, [performance.md](../docs/performance.md) more.",
        "",
        "| figure | dipls | peer | | ratio | goal | |",
        "|---|---|---|---|---|---|---|",
    ]
    if m["load"] > m["cores"] / 2:
        text.insert(3, "\n**The machine was busy when this began: these figures are not to be relied on.**")
    for line in table:
        reached = {True: "reached", False: "**not reached**", None: ""}[line["reached"]]
        last = ": ".join(part for part in (reached, line["remark"]) if part)
        ratio = f"{line['ratio']:.3g} ×" if "ratio" in line else ""
        cells = [line["figure"], value(line, "ours"), value(line, "theirs"), line["peer"], ratio, line["goal"], last]
        text.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(text) + "\n"


def value(line, side):
    if side not in line:
        return "–"
    s = line[side]
    spread = "" if s["count"] == 1 else f" ({number(s['low'])}–{number(s['high'])})"
    return f"{number(s['value'])} {line['unit']}{spread}"


def number(x):
    """Three digits, without an exponent."""
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"
