# %% Endless
import time

print("begun")
while True:
    time.sleep(0.1)
