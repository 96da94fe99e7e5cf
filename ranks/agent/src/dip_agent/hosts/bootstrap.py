"""Brings the host agent to a host where nothing of it is installed.

A launcher runs a fixed command line, which reads one line from standard input and runs it: this file. So it imports
nothing of ours. It reads one line more, the start-up (JSON), repairs the environment, finds the session, gets the
agent's code from it unless that is in the cache, and becomes the agent, with the start-up as its standard input.

Start-up:

    addresses    where the session listens, in the order to try: ["10.0.0.1:7000"]
    certificate  of the session, PEM; whoever has another one is not the session
    token        lets this host join
    agent        SHA-256 of the zip with the agent's code
    forward      true: the launcher can make a Unix socket here that leads to the session, and waits to be asked for it

What the agent gets has the address first that leads to the session, `unix:PATH` for such a socket; `scratch`, a folder
that the agent is to remove at its end; and `launcher`, the rank variables that the environment no longer has.
"""

import contextlib
import hashlib
import json
import os
import queue
import shutil
import socket
import ssl
import stat
import sys
import tempfile
import threading
import time
import zipfile
import zlib

PATIENCE = 3.0  # seconds until an address counts as unreachable
SHORT_PATIENCE = 1.5  # the same where the launcher can carry the connection: time for a packet to be sent again
KEEP = 30 * 86400  # seconds for which the code of another version is kept unused

LONGEST = 1000  # characters of why, in a line of which a launcher reads 4 KB

# Line that asks the launcher for a socket. What else comes on standard output is not for it: a .bashrc may print.
ASKS = "dipls-forward "

# What a launcher sets for one of its tasks, and ranks must not inherit.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
RANK_PREFIXES = ("MASTER_", "ROLE_", "TORCHELASTIC_")


def main() -> None:
    if sys.version_info < (3, 9):  # noqa: UP036  an older one can parse this
        version = sys.version.split()[0]
        sys.exit(f"dipls: {sys.executable} on {socket.gethostname()} is Python {version}; 3.9 or newer is needed")
    try:
        start = json.loads(read_line())
    except ValueError as err:
        sys.exit(f"dipls: the start-up on standard input is damaged: {err}")
    start["launcher"] = repair(os.environ)
    try:
        cache = cache_folder()
    except OSError:
        cache = None  # it cannot be written, or others can
    home = os.path.join(cache, start["agent"]) if cache else None
    if home and is_whole(home, start["agent"]):
        reach(start).close()
        with contextlib.suppress(OSError):
            os.utime(home)  # it is in use: see sweep
    else:
        home = install(fetch(start, reach(start)), start, cache)
    become(home, start)


def read_line() -> bytes:
    """Reads a line from standard input, and not a byte more."""
    got = bytearray()
    while not got.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit("dipls: standard input has ended before the start-up; the launcher has lost it")
        got += byte
    return bytes(got)


def repair(env: "os._Environ[str]") -> "dict[str, str]":
    """Mends what launchers copy from their own host, and answers the rank variables that it has taken out."""
    if "HOSTNAME" in env:
        env["HOSTNAME"] = socket.gethostname()
    runtime = f"/run/user/{os.getuid()}"
    if not is_ours(env.get("XDG_RUNTIME_DIR", "")):
        env.pop("XDG_RUNTIME_DIR", None)
        if is_ours(runtime):
            env["XDG_RUNTIME_DIR"] = runtime
    for name in ("TMPDIR", "TMP", "TEMP"):
        if name in env and not os.access(env[name], os.W_OK | os.X_OK):
            del env[name]
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if name in env and os.path.realpath(env[name]) != os.path.realpath(sys.prefix):
            del env[name]
    if not os.path.exists(env.get("SSH_AUTH_SOCK", "")):
        env.pop("SSH_AUTH_SOCK", None)
    env.pop("OLDPWD", None)
    env["PWD"] = os.getcwd()
    return {name: env.pop(name) for name in list(env) if name in RANK_VARIABLES or name.startswith(RANK_PREFIXES)}


def is_ours(folder: str) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def pinned(start: dict) -> ssl.SSLContext:
    """Makes what is needed to talk to the session and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=start["certificate"])
    except (ssl.SSLError, ValueError) as err:
        sys.exit(f"dipls: the certificate in the start-up is damaged: {err}")
    return context


def reach(start: dict) -> ssl.SSLSocket:
    """Connects to the session, and puts the address first that leads there: others may have the same one."""
    context = pinned(start)
    found: queue.Queue = queue.Queue()
    patience = SHORT_PATIENCE if start.get("forward") else PATIENCE
    for address in start["addresses"]:
        threading.Thread(target=attempt, args=(address, context, patience, found), daemon=True).start()
    failures = []
    for _ in start["addresses"]:
        address, way, failure = found.get()
        if way:
            start["addresses"].remove(address)
            start["addresses"].insert(0, address)
            return way
        failures.append(f"{address}: {failure}")
    why = "; ".join(failures) or "it listens on no port"
    if start.get("forward"):
        return forwarded(start, context, why)
    hint = "--hosts-ports names ports that a firewall lets through, and over ssh none is needed"
    sys.exit(f"dipls: {socket.gethostname()} does not reach the session: {why}; {hint}")


def attempt(address: str, context: ssl.SSLContext, patience: float, found: queue.Queue) -> None:
    host, _, port = address.rpartition(":")
    try:
        way = socket.create_connection((host.strip("[]"), int(port)), patience)
        found.put((address, context.wrap_socket(way), None))
    except ssl.SSLCertVerificationError:
        found.put((address, None, "another program listens there"))
    except (OSError, ValueError) as err:
        found.put((address, None, err))


def forwarded(start: dict, context: ssl.SSLContext, why: str) -> ssl.SSLSocket:
    """Has the launcher make a socket here that leads to the session, in a folder that is ours alone."""
    folder = None
    # The path of a socket may have 107 bytes, and ssh adds some while it makes it.
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if parent and len(parent) < 60 and os.access(parent, os.W_OK | os.X_OK):
            folder = tempfile.mkdtemp(prefix="dipls-", dir=parent)
            break
    if not folder:
        sys.exit(f"dipls: {socket.gethostname()} has no folder for a socket, and does not reach the session: {why}")
    path = os.path.join(folder, "session")
    try:
        # A line of its own, whatever has been printed before it.
        sys.stdout.write("\n" + ASKS + json.dumps({"path": path, "why": why[:LONGEST]}) + "\n")
        sys.stdout.flush()
        refused = json.loads(read_line()).get("error")
        if refused:
            raise OSError(refused)
        way = socket.socket(socket.AF_UNIX)
        way.settimeout(PATIENCE)
        way.connect(path)
        way = context.wrap_socket(way)
    except (OSError, SystemExit) as err:
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(f"dipls: {socket.gethostname()} does not reach the session ({why}), and neither through ssh: {err}")
    start["addresses"] = ["unix:" + path]
    start["scratch"] = folder
    return way


def cache_folder() -> str:
    """Answers the folder where code is kept. Nobody else may be able to change it: what lies there is run."""
    folder = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dipls", "hosts")
    if not os.path.isabs(folder):
        raise FileNotFoundError(f"{folder} is in no home directory")  # a container's user may have none
    os.makedirs(folder, 0o700, exist_ok=True)
    folder = os.path.realpath(folder)
    at = folder
    while True:
        found = os.stat(at)
        if found.st_uid not in (0, os.getuid()) or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            raise PermissionError(f"{at} can be changed by others")
        if at == os.path.dirname(at):
            return folder
        at = os.path.dirname(at)


def is_whole(home: str, wanted: str) -> bool:
    """Compares unpacked code with the zip that it came from, which lies beside it."""
    try:
        with open(os.path.join(home, "agent.zip"), "rb") as file:
            packed = file.read()
            if hashlib.sha256(packed).hexdigest() != wanted:
                return False
            file.seek(0)
            entries = zipfile.ZipFile(file).infolist()
        return all(checksum(os.path.join(home, entry.filename)) == entry.CRC for entry in entries)
    except (OSError, zipfile.BadZipFile):
        return False


def checksum(path: str) -> int:
    with open(path, "rb") as file:
        return zlib.crc32(file.read())


def fetch(start: dict, talk: ssl.SSLSocket) -> bytes:
    """Gets the zip with the agent's code from the session."""
    try:
        with talk, talk.makefile("rb") as answers:
            talk.sendall(json.dumps({"protocol": 1, "token": start["token"], "fetch": "agent"}).encode() + b"\n")
            answer = json.loads(answers.readline(1 << 16) or b'{"refused": "it has closed the connection"}')
            if "refused" in answer:
                sys.exit(f"dipls: the session refuses {socket.gethostname()}: {answer['refused']}")
            packed = answers.read(answer["size"])
    except (OSError, ValueError) as err:
        sys.exit(f"dipls: cannot get the agent's code from the session at {start['addresses'][0]}: {err}")
    if hashlib.sha256(packed).hexdigest() != start["agent"]:
        sys.exit("dipls: the agent's code was damaged on its way")
    return packed


def install(packed: bytes, start: dict, cache: "str | None") -> str:
    """Puts code into the cache, or where there is none into a folder for this agent alone, and answers where it is."""
    if cache:
        home = os.path.join(cache, start["agent"])
        with contextlib.suppress(OSError):
            unpack(packed, cache, home)
            return home
    failure = None
    for parent in (None, "/dev/shm"):  # None: where temporary files are
        scratch = start.get("scratch")
        try:
            scratch = scratch or tempfile.mkdtemp(prefix="dipls-", dir=parent)
            home = os.path.join(scratch, "agent")
            fill(packed, home)
        except OSError as err:
            failure = err
            if scratch:
                shutil.rmtree(scratch, ignore_errors=True)
        else:
            start["scratch"] = scratch
            return home
    sys.exit(f"dipls: {socket.gethostname()} has no room for the agent's code, {len(packed) >> 10} KB: {failure}")


def unpack(packed: bytes, cache: str, home: str) -> None:
    """Puts code into the cache, which other hosts may use at the same time."""
    new = tempfile.mkdtemp(prefix="new-", dir=cache)
    try:
        fill(packed, new)
        if os.path.isdir(home) and not is_whole(home, os.path.basename(home)):
            os.rename(home, new + ".damaged")
        with contextlib.suppress(OSError):  # another host was first
            os.rename(new, home)
        sweep(cache, os.path.basename(home))
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(new + ".damaged", ignore_errors=True)


def fill(packed: bytes, home: str) -> None:
    os.makedirs(home, 0o700, exist_ok=True)
    path = os.path.join(home, "agent.zip")
    with open(path, "wb") as file:
        file.write(packed)
    with zipfile.ZipFile(path) as file:
        file.extractall(home)


def sweep(cache: str, used: str) -> None:
    """Removes code of other versions that nobody has used for long, and what killed agents have left."""
    for name in os.listdir(cache):
        path = os.path.join(cache, name)
        with contextlib.suppress(OSError):
            if name != used and time.time() - os.stat(path).st_mtime > KEEP:
                shutil.rmtree(path)


def become(code: str, start: dict) -> None:
    read, write = os.pipe()
    os.write(write, json.dumps(start).encode() + b"\n")  # a pipe takes 64 KiB
    os.close(write)
    os.dup2(read, 0)
    os.close(read)
    os.execv(sys.executable, [sys.executable, "-s", "-S", code, "relay"])


if __name__ == "__main__":
    main()
