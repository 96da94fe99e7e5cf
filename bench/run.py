"""Measures dipls and its peers side by side: in one run, on one interpreter, taking turns.

Run it with `make bench` or `make bench-quick`. Whatever else the machine does falls on all of them; what counts is the
ratio of the medians. Every figure comes from a script that prints samples, of this project or of one peer (bench/peers,
bench/figures). A script that fails is a line of the table. What scripts start, ends with them, also after Ctrl-C, and
their files are in a directory that goes with the run.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import processes
import table

ROOT = Path(__file__).resolve().parent.parent

# How much is measured.
PLANS = {
    "full": {
        "rounds": 3,
        "ranks": 8,
        "passes": 200,
        "lines": 100_000,
        "flood": 10**9,
        "bytes": [10**3, 10**6, 64 * 10**6, 256 * 10**6, 10**9],
        "repeats": 3,
        "first_step": True,
        "sizes": [1, 2, 4, 8, 16, 64],
        "first_bytes": 40,
        "windows": 20,
        "train_ranks": 2,
        "epochs": 60,
        "train_command": True,
        "keystrokes": 1000,
        "dispatches": 100,
        "hosts": ["h1", "h2", "h3", "h4"],
        "hosts_bytes": 256 * 10**6,
        "networks": ["250mbit", "unlimited"],
        "hosts_peer": True,
        "counts": 3,
        "fake_hosts": 1000,
    },
    "quick": {
        "rounds": 1,
        "ranks": 8,
        "passes": 100,
        "lines": 20_000,
        "flood": 10**8,
        "bytes": [10**3, 10**6, 64 * 10**6],
        "repeats": 2,
        "first_step": False,
        "sizes": [1, 2, 8],
        "first_bytes": 12,
        "windows": 10,
        "train_ranks": 2,
        "epochs": 20,
        "train_command": False,
        "keystrokes": 200,
        "dispatches": 20,
        "hosts": ["h1", "h2", "h3", "h4"],
        "hosts_bytes": 64 * 10**6,
        "networks": ["250mbit"],
        "hosts_peer": False,
        "counts": 1,
        "fake_hosts": 256,
    },
}


@dataclass(frozen=True)
class Script:
    """A script that measures one peer for one group of figures."""

    group: str
    who: str
    command: list
    seconds: int  # after which it is given up
    rounds: int = 0  # 0: as many as the plan has
    private: bool = False  # needs namespaces of its own
    hosts: int = 0  # runs on a test host, from which it can reach so many others
    network: str = "unlimited"  # what each of these sends at most, as tc says it


def scripts(p, python, bin_dir):
    """All scripts, in the order of their groups; within a group they take turns."""

    told = json.dumps({**p, "dipls": str(bin_dir / "dipls")})

    def peer(name, *args):
        return [python, str(ROOT / "bench" / "peers" / f"{name}.py"), told, *args]

    def own(group, *more, **others):
        numbers = [f"-{name}={p[name]}" for name in ("ranks", "passes", "lines", "flood", "repeats")]
        lists = [f"-{name}={','.join(map(str, {**p, **others}[name]))}" for name in ("bytes", "sizes")]
        return [str(bin_dir / "figures"), f"-python={python}", *numbers, *lists, *more, group]

    yield Script("start", "dipls", peer("with_dipls", "start"), 120)
    yield Script("start", "nbdistributed", peer("with_nbdistributed"), 300, rounds=1, private=True)
    yield Script("pool", "dipls", own("pool"), 600)
    yield Script("pool", "ipyparallel", peer("with_ipyparallel", "pool"), 1200)
    yield Script("pool", "one copy", peer("memory_copy"), 120)
    yield Script("sweep", "dipls", own("sweep"), 300)
    yield Script("sweep", "ipyparallel", peer("with_ipyparallel", "sweep"), 900)
    yield Script("kernel", "dipls", own("kernel"), 120)
    yield Script("kernel", "dipls", peer("with_dipls", "kernel"), 120)
    yield Script("kernel", "ipykernel", peer("with_ipykernel"), 300)
    yield Script("attached", "dipls", own("attached"), 300, rounds=1)
    yield Script("attached", "dipls", peer("with_dipls", "attached"), 120, rounds=1)
    yield Script("hang", "dipls", own("hang"), 600, rounds=1)
    yield Script("train", "torchrun", peer("with_torchrun"), 600)  # and dipls, at the same time
    far, count = f"-hosts={','.join(p['hosts'])}", len(p["hosts"])
    yield Script("hosts", "dipls", own("hosts", far), 300, hosts=count)
    yield Script("hosts", "dipls", peer("with_dipls", "hosts"), 120, hosts=count)
    if p["hosts_peer"]:
        yield Script("hosts", "ipyparallel", peer("with_ipyparallel", "hosts"), 300, rounds=1, hosts=count)
    for network in p["networks"]:
        push = own("hosts_push", far, f"-network={network}", bytes=[p["hosts_bytes"]])
        yield Script("hosts", "dipls", push, 300, hosts=count, network=network)
    for package in ("keystroke", "fanout"):
        yield Script(package, "dipls", [python, str(ROOT / "bench" / "go_benchmarks.py"), told, package], 900, rounds=1)


class Run:
    """One run of all scripts."""

    def __init__(self, name, p, python, bin_dir, only):
        self.name, self.plan, self.only = name, p, only
        self.python, self.bin_dir = python, bin_dir
        self.samples = table.Samples()
        self.description = machine.describe(python)

    def measure(self, directory):
        """Has the groups measured, one by one. Peers take turns, and who is first changes from round to round."""
        groups = {}
        for script in scripts(self.plan, self.python, self.bin_dir):
            groups.setdefault(script.group, []).append(script)
        for group, members in groups.items():
            if self.only and group not in self.only:
                continue
            for number in range(self.plan["rounds"]):
                for script in members if number % 2 == 0 else reversed(members):
                    if number < (script.rounds or self.plan["rounds"]):
                        self.run(script, number, directory)

    def run(self, script, number, directory):
        begin = time.monotonic()
        say(f"{script.group}, round {number + 1}: {script.who}")
        home = Path(tempfile.mkdtemp(prefix="home-", dir=directory))
        command, reason = script.command, None
        if script.private:
            command, reason = private(command)
        elif script.hosts:
            command, reason = on_hosts(script, [ROOT, self.bin_dir, Path(self.python).parent, directory])
        try:
            if reason:
                raise processes.Failure(reason)
            with open(directory / "log", "wb") as log:
                for record in processes.run(command, script.seconds, cwd=home, env=environment(home), stderr=log):
                    self.take(script.who, record)
        except (OSError, processes.Failure) as e:
            said = last_line(directory / "log")
            self.samples.fail(
                script.who, script.group if script.hosts else None, plain(f"{script.group}: {e}{said and f' ({said})'}")
            )
            say(f"  {script.who}: {e}: {said}")
        finally:
            shutil.rmtree(home, ignore_errors=True)
        say(f"  {time.monotonic() - begin:.0f} s")

    def take(self, who, record):
        if "figure" in record:
            self.samples.add(record.get("who", who), record["figure"], record["samples"])
        elif "failed" in record:
            self.samples.fail(who, record["failed"], plain(record["reason"]))
            say(f"  {who} has no {record['failed']}: {record['reason']}")
        elif "versions" in record:
            self.description["versions"].update(record["versions"])

    def report(self):
        """The table as text, and all there is as JSON."""
        self.samples.derive(self.plan)
        lines = list(table.lines(self.samples, self.plan, self.description["versions"]))
        everything = {"machine": self.description, "plan": self.plan, "table": lines, **self.samples.as_json()}
        return table.markdown(self.description, lines, self.name, self.plan["rounds"]), everything


def environment(home):
    """The environment of a script: what programs keep for their user is in a directory that goes with the script."""
    others = re.compile("JUPYTER|IPYTHON|IPP_|XDG_|DIPLS_|PYTHON")
    env = {name: value for name, value in os.environ.items() if not others.match(name)}
    env.update(HOME=str(home), TMPDIR=str(home))
    env["OMP_NUM_THREADS"] = "1"  # for all, as torchrun has it by itself
    for name in ("GOCACHE", "GOMODCACHE"):  # not those of the new home, which are empty
        env[name] = machine.output("go", "env", name)
    return env


def private(command):
    """A command in namespaces of its own for processes and network, or why that cannot be."""
    unshare = ["unshare", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        unshare.append("--map-root-user")
    try:
        tried = subprocess.run([*unshare, "true"], stderr=subprocess.PIPE, text=True)
    except OSError as e:
        return None, f"kills by pattern, so it needs a process namespace: {e}"
    if tried.returncode != 0:
        return None, f"kills by pattern, so it needs a process namespace: {tried.stderr.strip()}"
    return [*unshare, *command], None


def on_hosts(script, shared):
    """A script's command on a test host, with hosts that go with it, or why that cannot be; they share directories."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return None, "hosts for tests need Linux and root"
    needed = ["sshd", "iptables", "ip", "tc", "unshare", "nsenter", "setpriv"]
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if missing := [name for name in needed if not shutil.which(name, path=path)]:
        return None, f"hosts for tests need {', '.join(missing)}; make setup installs it on Debian"
    settings = {
        "HOSTS_DIR": f"/var/lib/dipls-hosts/bench-{os.getpid()}",
        "HOSTS_OWNER": os.getpid(),
        "HOSTS_SHARE": ":".join(str(d) for d in shared if re.match("/(tmp|var/tmp|run|dev/shm)/", str(d))),
        "HOSTS_RATE": "" if script.network == "unlimited" else script.network,
    }
    hosts = ROOT / "internal" / "testhosts" / "hosts.sh"
    return [
        "env",
        *(f"{k}={v}" for k, v in settings.items()),
        str(hosts),
        "run",
        str(script.hosts),
        *script.command,
    ], None


def last_line(path):
    """The last line of a log, "" if it has none."""
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def plain(reason):
    """A reason without the machine's paths."""
    return re.sub(r"/[^\s:'\"]*/", "", reason)


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", choices=PLANS, default="full")
    parser.add_argument("--only", action="append", metavar="GROUP", help="only this group of figures; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="change a number of the plan")
    parser.add_argument("--python", default=sys.executable, help="interpreter of ranks and peers")
    parser.add_argument("--bin", type=Path, default=ROOT / "bin", help="where dipls and figures are")
    parser.add_argument("--out", type=Path, help="directory for RESULTS.md and results.json")
    return parser.parse_args()


def changes(settings):
    """The numbers of the plan that --set changes."""
    return {name: json.loads(value) for name, _, value in (setting.partition("=") for setting in settings)}


def main():
    args = arguments()
    p = {**PLANS[args.plan], **changes(args.set)}
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(args.plan, p, args.python, args.bin.resolve(), args.only)
    directory = Path(tempfile.mkdtemp(prefix="dipls-bench-"))
    try:
        run.measure(directory)
    except KeyboardInterrupt:
        say("interrupted: nothing is written")
        sys.exit(130)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    text, everything = run.report()
    print(text)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "RESULTS.md").write_text(text)
        (args.out / "results.json").write_text(json.dumps(everything, ensure_ascii=False, indent=1) + "\n")
        say(f"written: {args.out}/RESULTS.md and results.json")


if __name__ == "__main__":
    main()
