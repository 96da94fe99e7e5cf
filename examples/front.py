"""A front: it runs all cells of a file through the language server and prints what the ranks put out.

    python examples/front.py FILE

docs/fronts.md has the ideas; this is the whole of a client, without a library.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class Client:
    """Speaks the Language Server Protocol with `dipls lsp`, a child of this process."""

    def __init__(self) -> None:
        """Start the server."""
        self._server = subprocess.Popen(["dipls", "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._calls = 0

    def send(self, method: str, params: Any, **call: Any) -> None:
        """Send a notification, or with an id a request."""
        self._write({"method": method, "params": params, **call})

    def call(self, method: str, params: Any) -> Any:
        """Send a request and return its result. Events that come meanwhile are printed."""
        self._calls += 1
        self.send(method, params, id=self._calls)
        while (message := self.read()).get("id") != self._calls or "method" in message:
            show(message)
        if "error" in message:
            sys.exit(message["error"]["message"])
        return message["result"]

    def read(self) -> Any:
        """Read a message. To a question of the server it answers that this front cannot ask its user."""
        assert self._server.stdout
        size = 0
        while header := self._server.stdout.readline().strip():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        message = json.loads(self._server.stdout.read(size))
        if "method" in message and "id" in message:
            self._write({"id": message["id"], "error": {"code": -32601, "message": "there is nobody to ask"}})
        return message

    def _write(self, message: dict[str, Any]) -> None:
        assert self._server.stdin
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._server.stdin.flush()


def show(message: Any) -> None:
    """Print what a message says of runs."""
    if message.get("method") == "dip/folded":
        for item in message["params"].get("items") or []:
            print(item["text"], flush=True)


def main() -> None:
    """Run the file that the command line names."""
    file = Path(sys.argv[1]).resolve()
    client = Client()
    options = {"events": True, "folded": True, "ranks": 3, "session": {"keep": "0"}}  # 0: all ends with this program
    about = {"processId": None, "rootUri": None, "capabilities": {}, "initializationOptions": options}
    client.call("initialize", about)
    client.send("initialized", {})
    document = {"uri": file.as_uri(), "languageId": "python", "version": 1, "text": file.read_text()}
    client.send("textDocument/didOpen", {"textDocument": document})

    command = {"command": "dip.runAll", "arguments": [{"uri": file.as_uri()}]}
    left = client.call("workspace/executeCommand", command).get("cells", 1)
    failed = False
    while left:
        show(message := client.read())
        event = message["params"] if message.get("method") == "dip/event" else {}
        if event.get("event") == "run_finished" and "parent" not in event:  # else it is what a cell's magic has run
            left -= 1
            failed = failed or event["status"] != "ok"  # the cells after it are "skipped"
    client.call("shutdown", None)
    client.send("exit", None)
    sys.exit(failed)


if __name__ == "__main__":
    main()
