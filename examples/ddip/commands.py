# The commands of the guide to ddipp, as a plain Python file.
# Run me with: dipls run examples/ddip/commands.py -n 3

# %% Installation
# %load_ext ddipp

# %% Start a group: all GPUs (or, without one, ranks on the CPU), an app, verbose
# %makedip -g all -a fastai_v1 --verbose True

# %% Some data, in the local namespace
var1, var2 = [1, 2, 3], {"a": 1}
varN = lambda x: x + len(var1)

# %% Push variables to the group
# %dipush var1 var2 varN

# %% A cell in parallel, each process with its own device
# %%dip
import os

varN(int(os.environ["RANK"])), var2

# %% A cell in both the notebook and the group
# %%dip everywhere

# Execute this cell first in local notebook, then in parallel across DDP processes
from os.path import *
import os

join("a", "b")

# %% Automatic parallel execution, with flags for %%dip
# %autodip on --see all

# %% This runs on every rank
print(f"rank {os.environ['RANK']}")

# %% One cell locally, whatever autodip says
# dip_locally
print("local:", "RANK" not in os.environ)

# %% The same by a magic
# %%dip locally
print("local:", "RANK" not in os.environ)

# %% A cell that begins with a magic is left alone
# %dipull var2
print("local:", "RANK" not in os.environ)

# %% Off again; Ddip's spelling of the flags works, too
# %autodip off
# %autodip on -a "--see all"

# %% On the ranks
os.environ["RANK"]

# %% Back to the local namespace
# %autodip off

# %% What there is
# %makedip -i

# %% The end of the group
# %makedip -k
