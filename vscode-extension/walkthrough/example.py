# An example for Dip
#
# Each "# %%" begins a cell. Run the one with the cursor by Shift+Enter, or by the links above it.
# A cell says where it runs, here in a comment below its header. One that does not say so runs in
# the local namespace, a process that plays the notebook.

# %% Who is there?
# %%dip --see all
import os

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
print(f"rank {rank} of {size} is process {os.getpid()}")
print("ready")

# %% Made here, in the local namespace
words = "each rank takes its share of what was made here".split()
words

# %% Pushed to every rank
# %dipush words

# %% Each rank takes its share
# %%dip --see all
share = words[rank::size]
print(share)
longest = max(share, key=len)

# %% Pulled back from rank 0
# %dipull longest
print(f"rank 0 has found {longest!r}")

# %% A failure: once, with the ranks that had it
# %%dip
if rank > 0:
    words.index("dip")
