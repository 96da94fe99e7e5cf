"""ipyparallel: engines under a controller of its own, through its own client.

Groups: pool, as many engines as dipls has ranks, with torch imported; sweep, pass by the number of engines; hosts, as
many engines on several hosts, by its launcher for ssh.
"""

import os
import socket
import sys
import tempfile
import time

import ipyparallel as ipp
import numpy
from procfs import available_memory, descendants, sum_pss
from samples import attempt, emit, fail, plan, repeated, timed, versions
from traitlets.config import Config

HUGE = 1e9  # bytes of an array that is pushed once only

STEP = """\
import os, torch
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(bench_port))
torch.distributed.init_process_group("gloo", rank=bench_rank, world_size=bench_size)
_model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
_optimizer = torch.optim.SGD(_model.parameters(), lr=0.1)
_model(torch.ones(2, 4)).sum().backward()
_optimizer.step()
"""


class Engines:
    """A cluster of engines and a client, as `with` gives it; the end of the block is theirs, too."""

    def __init__(self, count, **options):
        self.cluster = ipp.Cluster(n=count, profile_dir=tempfile.mkdtemp(prefix="ipp-"), log_level=40, **options)
        self.count = count

    def __enter__(self):
        self.client = self.cluster.start_and_connect_sync(activate=False)
        self.all = self.client[:]
        return self

    def __exit__(self, *_):
        self.client.close()
        self.cluster.stop_cluster_sync()

    def pids(self):
        return self.all.apply_sync(os.getpid)

    def restart(self):
        """New engines under the old controller: the fastest way that ipyparallel has."""
        old = set(self.client.ids)
        self.cluster.restart_engines_sync()
        deadline = time.monotonic() + 120
        while len(ids := set(self.client.ids) - old) < self.count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(ids)} of {self.count} engines came back")
            time.sleep(0.01)
        self.all = self.client[sorted(ids)]


def measure_pool(p):
    begin = time.perf_counter()
    with Engines(p["ranks"]) as engines:
        engines.all.execute("import torch", block=True)
        emit("start", [time.perf_counter() - begin])
        attempt("memory", measure_memory, engines)
        attempt("pass", measure_pass, engines, p)
        attempt("lines", measure_lines, engines, p)
        measure_pushes(engines, [size for size in p["bytes"] if size < HUGE], p)
        for size in p["bytes"]:
            attempt(f"pull_{size}", measure_pull, engines, size, p)
        attempt("restart", measure_restart, engines)
        if p["first_step"]:
            attempt("restart_ddp", measure_first_step, engines)
        # At the end: restarted engines hold nothing, and nothing else is lost if memory does not suffice.
        measure_pushes(engines, [size for size in p["bytes"] if size >= HUGE], p)


def measure_memory(engines):
    pids = engines.pids()
    emit("memory", [sum_pss(pids)])
    emit("memory_all", [sum_pss(descendants(os.getpid()) | set(pids) | {os.getpid()})])


def measure_pass(engines, p):
    emit("pass", repeated(p["passes"], engines.all.execute, "pass", block=True))
    broadcast = engines.client.broadcast_view()
    emit("pass_broadcast", repeated(p["passes"], broadcast.execute, "pass", block=True))


def measure_lines(engines, p):
    begin = time.perf_counter()
    result = engines.all.execute(f"for i in range({p['lines']}): print('line', i)", silent=False)
    result.wait_for_output()
    result.get()
    seconds = time.perf_counter() - begin
    delivered = sum(text.count("\n") for text in result.stdout)
    if delivered == p["ranks"] * p["lines"]:
        emit("lines", [seconds])
    else:
        fail("lines", f"{delivered} of {p['ranks'] * p['lines']} lines delivered")


def measure_pushes(engines, sizes, p):
    for view, suffix, copies in ((engines.client.broadcast_view(), "_broadcast", 13), (engines.all, "", 22)):
        for size in sizes:
            attempt(f"push{suffix}_{size}", measure_push, engines, view, suffix, size, copies * size, p)


def measure_push(engines, view, suffix, size, needed, p):
    """needed is what a push to 8 engines was seen to take: copies of the array on its way, and with every engine."""
    figure = f"push{suffix}_{size}"
    if needed > available_memory() * 0.9:
        fail(
            figure,
            f"needs about {needed / 1e9:.0f} GB of memory, of which {available_memory() / 1e9:.0f} GB can be had",
        )
        return
    array = {"x": numpy.arange(size // 8)}
    samples = []
    for number in range(p["repeats"] + 1 if size < HUGE else 1):
        seconds = timed(view.push, array, block=True)
        engines.all.execute(f"assert x.nbytes == {size // 8 * 8} and x[-1] == x.size - 1; del x", block=True)
        if number > 0 or size >= HUGE:  # the first does not count, where more than one is affordable
            samples.append(seconds * 1000)
    emit(figure, samples)


def measure_pull(engines, size, p):
    first = engines.client[engines.all.targets[0]]
    first.execute(f"import numpy; x = numpy.arange({size // 8})", block=True)

    def pull():
        x = first.pull("x", block=True)
        assert x.nbytes == size // 8 * 8 and x[-1] == x.size - 1

    emit(f"pull_{size}", repeated(p["repeats"], pull))
    first.execute("del x", block=True)


def measure_restart(engines):
    begin = time.perf_counter()
    engines.restart()
    engines.all.execute("import torch", block=True)
    emit("restart", [time.perf_counter() - begin])


def measure_first_step(engines):
    begin = time.perf_counter()
    engines.restart()
    engines.all.scatter("bench_rank", range(engines.count), flatten=True, block=True)
    engines.all.push({"bench_size": engines.count, "bench_port": free_port()}, block=True)
    engines.all.execute(STEP, block=True)
    emit("restart_ddp", [time.perf_counter() - begin])


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def measure_sweep(p):
    for size in p["sizes"]:
        attempt(f"pass_{size}", measure_size, size, p)


def measure_size(size, p):
    with Engines(size) as engines:
        emit(f"pass_{size}", repeated(p["passes"], engines.all.execute, "pass", block=True))


def measure_hosts(p):
    """Engines on other hosts, which reach the controller here."""
    launcher = Config()
    launcher.SSHEngineSetLauncher.engines = {host: p["ranks"] // len(p["hosts"]) for host in p["hosts"]}
    launcher.SSHLauncher.remote_python = sys.executable
    here = {"controller_ip": "*", "controller_location": socket.gethostname()}
    begin = time.perf_counter()
    with Engines(p["ranks"], engines="ssh", config=launcher, **here) as engines:
        engines.all.execute("import torch", block=True)
        emit("hosts_start", [time.perf_counter() - begin])
        assert sorted(set(engines.all.apply_sync(socket.gethostname))) == p["hosts"]
        emit("hosts_pass", repeated(p["passes"], engines.all.execute, "pass", block=True))


if __name__ == "__main__":
    versions("ipyparallel", "ipykernel", "pyzmq", "tornado")
    groups = {"pool": measure_pool, "sweep": measure_sweep, "hosts": measure_hosts}
    groups[sys.argv[2]](plan())
