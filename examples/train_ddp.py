# %% [markdown]
# # Data-parallel training on a pool of ranks
#
# Run me with `dipls run examples/train_ddp.py -n 4`. Every cell below that says `%%dip` runs on each rank; the process
# group has been joined before the first of them starts. The file is plain Python: comments are all that `dipls` adds.

# %% Imports, on every rank and in the local namespace
# %%dip everywhere
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

# %% Who is there
# %%dip --see all
print(f"rank {dist.get_rank()} of {dist.get_world_size()} over {dist.get_backend()}")

# %% Data: the same teacher everywhere, each rank trains on its own shard
# %%dip
device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")

generator = torch.Generator().manual_seed(0)
inputs = torch.randn(8192, 16, generator=generator)
teacher = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
with torch.no_grad():
    for parameter in teacher.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    targets = teacher(inputs)

dataset = TensorDataset(inputs, targets)
sampler = DistributedSampler(dataset, seed=0)
loader = DataLoader(dataset, batch_size=64, sampler=sampler)
print(f"{len(dataset)} samples, {len(sampler)} for each rank")

# %% Model
# %%dip
torch.manual_seed(dist.get_rank())  # each rank starts elsewhere; DDP copies rank 0's parameters to all of them
model = DistributedDataParallel(nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 1)).to(device))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters on {device}")


# %% Train
# %%dip --see all
def train(epoch):
    """One pass over this rank's shard; the mean loss over all ranks."""
    sampler.set_epoch(epoch)
    total = torch.zeros(2, device=device)
    for batch, target in loader:
        loss = nn.functional.mse_loss(model(batch.to(device)), target.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += torch.tensor([loss.item(), 1.0], device=device)
    dist.all_reduce(total)
    return (total[0] / total[1]).item()


start = time.perf_counter()
losses = []
for epoch in range(1, 11):
    losses.append(train(epoch))
    print(f"epoch {epoch:2d}  loss {losses[-1]:.5f}")
if dist.get_rank() == 0:
    print(f"{time.perf_counter() - start:.1f} s")

# %% Check: the loss fell, and every rank holds the same parameters
# %%dip --see all
assert losses[-1] < losses[0] / 10, f"the loss did not fall: {losses}"
flat = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
gathered = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
dist.all_gather(gathered, flat)
assert all(torch.equal(flat, other) for other in gathered), "the ranks' parameters differ"
print(f"parameters agree on {dist.get_world_size()} ranks; loss {losses[0]:.4f} → {losses[-1]:.4f}")
