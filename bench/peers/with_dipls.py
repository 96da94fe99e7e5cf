"""dipls as its user meets it: the binary. What is measured below that is in bench/figures.

Groups: start, from nothing to the first cell; kernel, the first byte. Training is in with_torchrun.py.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from samples import attempt, emit, plan


def events(p, file, *flags):
    """The events of `dipls run FILE`, each as it comes."""
    command = [p["dipls"], "run", file, "--python", sys.executable, "--json", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        raise RuntimeError(f"dipls run ended with exit code {process.returncode}")


def script(name, code):
    path = Path(name)
    path.write_text(code)
    return str(path)


def measure_start(p):
    cell = script("start.py", "# %%\nimport torch\n")
    begin = time.perf_counter()
    for event in events(p, cell, "-n", str(p["ranks"]), "--target", "remote"):
        if event["event"] == "run_finished":
            assert event["status"] == "ok", event
            emit("start", [time.perf_counter() - begin])


def measure_first_byte(p):
    loop = f"for _ in range({p['first_bytes']}):\n    print(time.time_ns())\n    time.sleep(0.25)\n"
    cell = script("first_byte.py", "import time\n" + loop)
    samples = []
    for event in events(p, cell, "-n", "1", "--target", "remote", "--app", "none"):
        if event["event"] == "stream" and event["name"] == "stdout" and event["text"].strip():  # not the end of a line
            samples.append((time.time_ns() - int(event["text"].split()[0])) / 1e6)
    assert len(samples) == p["first_bytes"], f"{len(samples)} of {p['first_bytes']} lines came one by one"
    emit("first_byte", samples)


if __name__ == "__main__":
    group = sys.argv[2]
    measure = {"start": measure_start, "kernel": measure_first_byte}[group]
    attempt({"kernel": "first_byte"}.get(group, group), measure, plan())
