# %% Who is there
import os

pid = os.getpid()
print("pid", pid)

# %% Both
where = os.environ.get("RANK", "local")
print("here is", where)
