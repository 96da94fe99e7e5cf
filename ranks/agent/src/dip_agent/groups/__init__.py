"""What concerns process groups: torch's own objects are watched, read, broken and mended, and never imported.

collectives  how many collectives each group has been asked for, and where this rank is with them
operations   what has begun and not ended: told by stacks and by torch's recorder
connections  the TCP connections that gloo has opened, which breaking a group shuts down
mending      breaks groups on purpose, so that nobody waits in them, and forms them anew
replicas     models that train in parallel: after an interrupt they agree again
sharded      models that are spread over the ranks: after an interrupt they begin the next step alike
holders      what still holds a group that is no more
"""
