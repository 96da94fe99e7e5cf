"""One process's conversation with the server.

    channel    the socket: framing, signatures, the one peer
    mailbox    requests that wait for the main thread
    sender     what waits to be sent: messages and output
    io_thread  the thread that serves the socket while the main thread is busy, and the loop that it runs

Two threads run this code: the main thread and the I/O thread. "Threads of a rank" in docs/architecture.md says which of
them may touch what, and why that is safe.
"""
