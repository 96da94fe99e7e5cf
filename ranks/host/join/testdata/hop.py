"""One end of a hop between hosts. A line of standard input says which; what comes of it is told in lines."""

import json
import sys

from dip_agent.hosts import hop
from dip_agent.hosts.identity import Identity

hop._COME_PATIENCE = 60.0  # the test is slow


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    request = json.loads(sys.stdin.readline())
    identity = Identity(**request["identity"])
    try:
        if "next" in request:
            with hop.dial(identity, request["next"]) as conn:
                hop.send(conn, memoryview(b"a piece"))
            return
        intake = hop.Intake(identity, request["before"], lambda who: say(refused=who))
        say(port=intake.port)
        buffer = memoryview(bytearray(hop.PIECE))
        with intake.take() as conn:
            while True:
                say(piece=bytes(hop.receive(conn, buffer)).decode())
    except (OSError, ValueError) as err:
        say(error=str(err))


if __name__ == "__main__":
    main()
