"""What runs on a host of a pool beside the node and its ranks.

The launcher starts the relay, which has the connection with the session. The relay starts a supervisor for each node,
and one process that answers questions about the machine. Nothing here needs more than Python's standard library.
"""
