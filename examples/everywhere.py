# Where a cell runs. Try me with `dipls run examples/everywhere.py -n 3`.
# This text stands before the first marker: it is a cell too, and runs in the local namespace.
import os

print(f"local namespace: pid {os.getpid()}")

# %% The local namespace first, then every rank
# %%dip everywhere --see all
import os

x = [f"pid {os.getpid()}", {"a": "dict"}]
x

# %% On the ranks; rank 0's output is shown unless --see says otherwise
# %%dip
print(f"only one of {os.environ['WORLD_SIZE']} ranks is heard: rank {os.environ['RANK']}")

# %% The same in the header, for two of the ranks target="ranks:0,2" see="all"
print(f"rank {os.environ['RANK']}")

# %% Local again: no directive
print("back in the local namespace, which has x too:", x[1])

# %% Local, whatever the default is
# dip_locally
print("local, said aloud")
