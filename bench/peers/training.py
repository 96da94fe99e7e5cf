"""The script that is trained under dipls and under torchrun: examples/train_ddp.py, framed by two cells.

The first cell joins the process group if the launcher has not, as a script under torchrun must. The last trains another
epoch whenever it is told to, and tells how long that took. Both launchers run the same file: to torchrun, markers are
comments.
"""

import os
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "train_ddp.py"

JOIN = """\
# %% Join the process group, where nobody has
# %%dip
import torch.distributed

if not torch.distributed.is_initialized():
    torch.distributed.init_process_group("gloo")

"""

# Rank 0 waits for its turn in a read, and the others for rank 0. The processor time is that of the main threads, in
# which a script runs and torch computes.
TURNS = """

# %% Measure
# %%dip
import json
import os
import socket

if dist.get_rank() == 0:
    turns = socket.socket(socket.AF_UNIX)
    turns.connect({address!r})
    turns.sendall(b"{who}\\n")

epoch = len(losses)
while True:
    go = torch.tensor([len(turns.recv(1)) if dist.get_rank() == 0 else 0])
    dist.broadcast(go, 0)
    if not go.item():
        break
    epoch += 1
    begin, cpu = time.perf_counter(), time.thread_time()
    train(epoch)
    took, cpu = time.perf_counter() - begin, torch.tensor([time.thread_time() - cpu])
    dist.all_reduce(cpu)
    if dist.get_rank() == 0:
        turns.sendall((json.dumps([took * 1000, cpu.item() * 1000 / dist.get_world_size()]) + "\\n").encode())
"""


def write(name, last=""):
    """Writes the script into the working directory; returns its path."""
    path = Path(name).resolve()
    path.write_text(JOIN + EXAMPLE.read_text() + last)
    return str(path)


def write_turns(who, address):
    """The same script with a last cell that trains whenever the listener at the address tells it to."""
    return write(f"{who}.py", TURNS.format(who=who, address=address))


def commands(p):
    """How the two launchers are told to run a file."""
    ranks, python = p["train_ranks"], sys.executable
    # torch before 2.0 cannot read the default of --redirects and --tee on Python 3.11 and newer; what is told is read.
    options = ["--standalone", f"--nproc_per_node={ranks}", "--redirects=1", "--tee=2", "--log_dir=logs"]
    # What dipls sets for its ranks, torchrun's are given, too.
    os.environ.update(OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
    return {
        "dipls": [p["dipls"], "run", "-n", str(ranks), "--python", python, "--quiet"],
        "torchrun": [python, "-m", "torch.distributed.run", *options],
    }
