# %% one
x = (1,
# %% no
2)  # yes
# %% two
"""
# %% no
"""  # yes
