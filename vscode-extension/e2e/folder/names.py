# %% Only here
threshold = 0.5

# %% On the ranks
print("threshold is", threshold)
