# Equal lines from several ranks are shown once; the rank that differs stands apart; one that fails is named.
# Try me with `dipls run examples/folding.py -n 4 --keep-going`: cell "A failing rank" fails, as it says.

# %% Lines that agree, and one that does not
# %%dip --see all
import os

rank = int(os.environ["RANK"])
for step in range(3):
    print(f"step {step}: all ranks say the same")
    if rank == 2 and step == 1:
        print("rank 2 has something of its own to say")

# %% A progress bar is one live line per rank
# %%dip --see all
import sys
import time

for done in range(0, 101, 5):
    print(f"\rrank {rank}: {done:3d} %", end="", file=sys.stderr, flush=True)
    time.sleep(0.02)
print(file=sys.stderr)

# %% A failing rank
# %%dip --see all
print("before the failure")
if rank == 1:
    {}["no such key"]
print("after it")

# %% The ranks that failed are still there
# %%dip --see all
print(f"rank {rank} goes on")
