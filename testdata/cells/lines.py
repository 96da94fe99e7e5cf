#!/usr/bin/env python3
# -*- coding: utf-8 -*-
# ---
# jupyter:
#   kernelspec: {name: python3}
# ---

import os

# %% Brackets
x = (  # yes
    1,
    # %% not a cell
# %% not a cell either
    [2, {3: "#"}],  # yes
)
y = [
# %% not a cell
1
]

def f(
    a,  # yes
# %% not a cell
):
    # %% not a cell: inside of a block
    return a


# %% Continued
z = 1 \
# %% not a cell
w = "é😀" + '\
# %% not a cell'  # é😀 yes

	# %% after a tab
if x:  # yes
	pass
 # %% not a cell: below a block, but indented
# %% a form feed follows
# %% In a string
s = """
# %% not a cell
""" + str(  # yes
    """
# %% not a cell
""")
#%% last, without a newline
print(s)
# %% after a form feed
x = 1  # yes