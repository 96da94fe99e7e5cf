"""Entry point: `python AGENT_DIR` is a node, `python AGENT_DIR child` a process that a node spawned."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 9):  # noqa: UP036  this line is for older ones, which must still be able to parse it
        sys.exit("dipls needs Python 3.9 or newer, and this is %d.%d (%s)" % (sys.version_info[:2] + (sys.executable,)))  # noqa

    from dip_agent import boot

    sys.exit(boot.main(sys.argv))
