# %% Who is there
import os

pid = os.getpid()
print("pid", pid)

# %% Both
import os

where = os.environ.get("RANK", "local")
print("here is", where)
