# %% Train
# %%dip --see all
import os
import time

rank = os.environ["RANK"]
for step in (1, 2, 3):
    print("step", step, "of rank", rank)
    while not os.path.exists(f"after-{step}"):
        time.sleep(0.01)
raise RuntimeError("diverged")

# %% Here
print("this is from VS Code")

# %% There
print("this is from Neovim")
