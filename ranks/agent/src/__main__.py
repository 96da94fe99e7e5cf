"""Entry point: `python AGENT_DIR` is a node, `python AGENT_DIR child` a process that a node spawned.

With `check` it compiles cells, and with other words it is a part of a host's agent.
"""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 9):  # noqa: UP036  this line is for older ones, which must still be able to parse it
        sys.exit("dipls needs Python 3.9 or newer, and this is %d.%d (%s)" % (sys.version_info[:2] + (sys.executable,)))  # noqa

    import os

    from dip_agent import paths

    agent_dir = sys.path.pop(0)  # the user's code must not find our modules before its own
    # It may name the script's folder, which is not known yet, and our own imports want what was installed.
    paths.hide(*os.environ.get("PYTHONPATH", "").split(os.pathsep))

    from dip_agent import boot

    sys.exit(boot.main(sys.argv, os.path.abspath(agent_dir)))
