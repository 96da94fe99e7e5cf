"""nbdistributed, by its own magics in an IPython shell.

It is run in namespaces of its own for processes and network (bench/run.py): when it ends its workers, or fails to start
them, it kills by pattern ("pkill -f") whatever else has a matching command line, and its socket, which unpickles what
comes, listens on all interfaces.
"""

import fcntl
import os
import socket
import struct
import sys
import time

from procfs import sum_pss
from samples import emit, fail, plan, repeated, versions


def loopback_up():
    """A new network namespace has its loopback interface down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        up, running = 0x1, 0x40
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", up | running))  # SIOCSIFFLAGS


def measure(p):
    from IPython.core.interactiveshell import InteractiveShell

    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]  # it starts "python"
    shell = InteractiveShell.instance()
    shell.extension_manager.load_extension("nbdistributed")
    magics = shell.magics_manager.registry["DistributedMagic"]
    begin = time.perf_counter()
    shell.run_line_magic("dist_init", f"--num-processes {p['ranks']}")
    workers = magics._process_manager
    if workers is None:
        fail("start", "%dist_init could not start its workers")
        return
    # Messages to workers that are not connected yet are lost without a word: it is sent until it is answered.
    while True:
        try:
            magics._comm_manager.send_to_all("execute", "import torch", timeout=2)
            break
        except TimeoutError:
            if time.perf_counter() - begin > 120:
                fail("start", "its workers never answered")
                return
    emit("start", [time.perf_counter() - begin])
    emit("memory", [sum_pss([worker.pid for worker in workers.processes])])
    # Its magic looks ten times a second whether its cell has ended.
    emit("pass", repeated(min(p["passes"], 20), shell.run_cell_magic, "distributed", "", "pass"))


if __name__ == "__main__":
    assert os.getpid() == 1, "this must have a process namespace of its own"
    versions("nbdistributed")
    loopback_up()
    measure(plan())
    sys.stderr.flush()
    os._exit(0)  # the kernel ends the workers with their namespace; its own way would be "pkill"
