"""One plain ipykernel through jupyter_client: what a notebook is without ranks."""

import sys
import time

from jupyter_client import KernelManager
from samples import attempt, emit, fail, plan, repeated, versions


def measure(p):
    manager = KernelManager()
    manager.start_kernel(stdout=sys.stderr)
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        attempt("kernel_pass", measure_pass, client, p)
        attempt("first_byte", measure_first_byte, client, p, "first_byte", False)
        attempt("first_byte_flushed", measure_first_byte, client, p, "first_byte_flushed", True)
        attempt("kernel_lines", measure_lines, client, p)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client, code):
    """Runs code up to its reply; yields its output as it comes, up to the kernel's idleness."""
    request = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["msg_type"] == "stream":
            yield message["content"]["text"]
        elif message["msg_type"] == "error":
            raise RuntimeError(message["content"]["evalue"])
        elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    client.get_shell_msg(timeout=120)


def measure_pass(client, p):
    emit("kernel_pass", repeated(p["passes"], lambda: list(run(client, "pass"))))


def measure_first_byte(client, p, figure, flush):
    """From before the print to the message; the cell is that of with_dipls.py."""
    loop = f"for _ in range({p['first_bytes']}):\n    print(time.time_ns(), flush={flush})\n    time.sleep(0.25)"
    texts = run(client, "import time\n" + loop)
    emit(figure, [(time.time_ns() - int(text.split()[0])) / 1e6 for text in texts if text.strip()])


def measure_lines(client, p):
    begin = time.perf_counter()
    delivered = sum(text.count("\n") for text in run(client, f"for i in range({p['lines']}): print('line', i)"))
    seconds = time.perf_counter() - begin
    if delivered == p["lines"]:
        emit("kernel_lines", [seconds])
    else:
        fail("kernel_lines", f"{delivered} of {p['lines']} lines delivered")


if __name__ == "__main__":
    versions("ipykernel", "jupyter_client", "tornado")
    measure(plan())
