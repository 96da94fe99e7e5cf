"""The script that is trained under dipls and under torchrun: examples/train_ddp.py, framed by two cells.

The first joins the process group where nobody has, as a script under torchrun must. The last goes on training, and has
rank 0 write how long each epoch took. Both launchers run the same file: to torchrun, cells are comments.
"""

import json
import os
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "train_ddp.py"

JOIN = """\
# %% Join the process group, where nobody has
# %%dip
import torch.distributed

if not torch.distributed.is_initialized():
    torch.distributed.init_process_group("gloo")

"""

MEASURE = """

# %% Measure
# %%dip
import json
import os

seconds = []
for epoch in range(11, 11 + {epochs}):
    dist.barrier()
    begin = time.perf_counter()
    train(epoch)
    seconds.append(time.perf_counter() - begin)
if dist.get_rank() == 0:
    with open({result!r}, "w") as file:
        json.dump(seconds, file)
"""

_result = Path("epochs.json")


def write(p):
    """Writes the script into the working directory; returns its path."""
    path = Path("train.py").resolve()
    path.write_text(JOIN + EXAMPLE.read_text() + MEASURE.format(epochs=p["epochs"], result=str(_result.resolve())))
    os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun would have it by itself
    return str(path)


def epochs():
    """How long each epoch took on rank 0, in milliseconds."""
    return [seconds * 1000 for seconds in json.loads(_result.read_text())]
