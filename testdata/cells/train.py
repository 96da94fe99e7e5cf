#!/usr/bin/env python
# ---
# jupyter:
#   jupytext:
#     text_representation: {format_name: percent}
# ---
"""Text before the first marker is cell 1. %%dip here says nothing."""

# %% [markdown] Introduction
# `# %%dip remote` in prose is a directive all the same only on a line of its own; `%dipush x` in prose is text.
# %dipush x

# %% Imports target="everywhere"
import os

# %%% Only some ranks target="ranks:0,2-4" see="all" tags=["train"]
rank = int(os.environ["RANK"])  # %% behind code

# %% Push {"name": "push", "see": [0, 1]}
# %dipush rank
if rank == 0:
    #!%dipull -r 1 rank

# %%

# %%dip everywhere --see 0 2-4 -q
x = f"{rank:{'>'}{4}} # %% {'''
# %% in a string
'''}"

# %%dip local
#dip_locally
print(x)
# %%px --targets 0-1
print(rank)

# In[12]:
#dip_locally
%time print("Jupyter's export")

# <codecell>
%%dip evrywhere --sea all -r 3-1
print("three problems")

# %% Being edited
print("abc", (

# %% Below it
import torch
"""

# %% [raw] Last target="remote"
