"""What every peer's script shares: samples go to standard output as JSON, one object a line, as from bench/figures."""

import json
import os
import subprocess
import sys
import time
import traceback
from importlib import metadata

# What a peer's library prints must not get between the samples.
_out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def plan():
    """How much is to be measured: the script's one argument (see PLANS in bench/run.py)."""
    return json.loads(sys.argv[1])


def emit(figure, samples, who=None):
    """Samples of a figure, in its unit. A script that measures several figures names it."""
    record = {"figure": figure, "samples": list(samples)}
    print(json.dumps({**record, "who": who} if who else record), file=_out)


def fail(figure, reason):
    """A figure that is missing, and why."""
    print(json.dumps({"failed": figure, "reason": reason}), file=_out)


def attempt(figure, measure, *args):
    """Calls measure; if that fails, the figure is missing, and the others are not."""
    try:
        measure(*args)
    except Exception as e:
        traceback.print_exc()
        fail(figure, f"{type(e).__name__}: {e}".splitlines()[0][:300])


def versions(*distributions):
    """Which versions were measured."""
    print(json.dumps({"versions": {name: metadata.version(name) for name in distributions}}), file=_out)


def timed(function, *args, **kwargs):
    """How long a call takes, in seconds."""
    begin = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - begin


def timed_command(*command):
    """How long a program takes, in seconds; what it prints goes to the log."""
    begin = time.perf_counter()
    code = subprocess.run(command).returncode
    if code != 0:
        raise RuntimeError(f"{os.path.basename(command[0])} ended with exit code {code}")
    return time.perf_counter() - begin


def repeated(times, function, *args, **kwargs):
    """How long each of several calls takes, in milliseconds, after one that does not count."""
    function(*args, **kwargs)
    return [timed(function, *args, **kwargs) * 1000 for _ in range(times)]
