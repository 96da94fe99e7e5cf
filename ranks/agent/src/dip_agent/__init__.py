"""The Python side of dipls: a node process and the ranks that it starts.

Data path, top to bottom:

    boot      reads the start-up line (node) or the child specification (spawned rank)
    node      one poll loop: requests of the server, deaths of children
    children  starts a process by fork or spawn, watches and buries it
    rank      main thread of a started process: takes requests, runs user code
    link      the conversation with the server: socket, I/O thread, what waits for the main thread or to be sent
    output    what user code prints, on its way to the server
    shell     IPython, told to publish over our socket
    groups    torch's process groups: counted, read, broken and mended
    transfer  variables on their way between processes
    files     variables in files
    magics    what the user types in the local namespace: %dipush, %%dip, ...
    lookup    completion, inspection and the table of variables
    apps      hooks around a pool's life

docs/wire.md in the project's repository is the contract with the server.

Importing this package imports nothing outside the standard library; `boot` decides what may be imported after that.
"""
