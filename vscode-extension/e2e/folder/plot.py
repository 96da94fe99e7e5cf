# %% Loss of each rank
# %%dip --see all
import os

import matplotlib.pyplot as plt
import numpy as np

rank = int(os.environ["RANK"])
steps = np.arange(200)
noise = np.random.default_rng(rank).normal(0, 0.03, steps.size)
figure = plt.figure(figsize=(4, 2))
plt.plot(steps, np.exp(-steps / (40 + 25 * rank)) + noise)
plt.title(f"rank {rank}")
plt.show()
