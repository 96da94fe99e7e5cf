# Model and data are made in the local namespace, pushed to the ranks, trained there with DDP, and pulled back.
# Run me with: dipls run examples/push_train_pull.py -n 2

# %% Made here, where one can look at them
import torch

torch.manual_seed(0)
inputs = torch.randn(512, 8)
targets = inputs @ torch.randn(8, 1) + 0.1 * torch.randn(512, 1)
model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))


def loss_of(net):
    return torch.nn.functional.mse_loss(net(inputs), targets)


before = loss_of(model).item()

# %% To every rank: one copy in memory that all of them share until they write to it
# %dipush model inputs targets loss_of

# %% Trained on the ranks, each on its share of the data
# %%dip
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP

rank, size = dist.get_rank(), dist.get_world_size()
ddp = DDP(model)
optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
for step in range(100):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(ddp(inputs[rank::size]), targets[rank::size])
    loss.backward()
    optimizer.step()
    if step % 25 == 0:
        print(f"step {step:3}  loss of rank {rank}'s share {loss.item():.4f}")

# %% The trained model, back from rank 0
# %dipull model

# %% And looked at here
after = loss_of(model).item()
print(f"loss of all data: {before:.4f} before, {after:.4f} after")
assert after < before / 5
