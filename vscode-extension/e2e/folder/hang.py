# %% Uneven
import torch
import torch.distributed as dist

if dist.get_rank() != 1:
    dist.all_reduce(torch.ones(1))

# %% All together
total = torch.ones(1)
dist.all_reduce(total)
print("all", int(total))
