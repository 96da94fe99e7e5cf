"""One copy of an array into fresh memory: what a push cannot do without."""

import numpy
from samples import emit, plan, repeated

if __name__ == "__main__":
    p = plan()
    for size in p["bytes"]:
        emit(f"copy_{size}", repeated(p["repeats"], numpy.arange(size // 8).copy))
