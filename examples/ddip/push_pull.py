# Ddip's guide "making objects available in local and remote processes", as a plain Python file.
# Run me with: dipls run examples/ddip/push_pull.py -n 3 --keep-going
# Two cells fail on purpose: a variable is not there until it has been pushed or pulled.

# %% In [1]: a pool
# %load_ext Ddip
# %makedip -r -g all --verbose False

# %% In [2]: for convenience
# %%dip everywhere
import os

# %% In [4]: made in the local namespace
foobar = {1: "foo", 2: "bar"}


def var_printer(f):
    print(f"Process [{os.getpid()}] variable is :{f}")


var_printer(foobar)

# %% In [5]: NameError, foobar is not on the ranks
# %%dip
foobar, var_printer

# %% In [6]: help
# %dipush?

# %% In [7]: from the local namespace to the ranks
# %dipush foobar var_printer

# %% In [8]: all ranks' outputs
# %%dip --see all
# Use `--see all` to see the outputs from all DDP processes
var_printer(foobar)

# %% In [20]: made on the ranks
# %%dip --see all
remote_pid = os.getpid()
print(f"Process [{os.getpid()}]: remote_pid is {remote_pid}")

# %% In [22]: NameError, it is not in the local namespace
remote_pid

# %% In [23]: from rank 0
# %dipull remote_pid
print(f"Process [{os.getpid()}]: remote_pid is {remote_pid}")

# %% In [24]: from rank 1
# %dipull -r 1 remote_pid
print(f"Process [{os.getpid()}]: remote_pid is {remote_pid}")

# %% In [28]: code once, runs everywhere
# %%dip everywhere --see all
x = [f"Different pid: {os.getpid()}", 2, ["a", "list"], {"and": "a dict"}]
x
