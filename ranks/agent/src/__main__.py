"""Entry point: `python AGENT_DIR` is a node, `python AGENT_DIR child` a process that a node spawned."""

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 9):
        sys.exit("dipls needs Python 3.9 or newer, and this is %d.%d (%s)" % (*sys.version_info[:2], sys.executable))

    from dip_agent import boot

    sys.exit(boot.main(sys.argv))
