"""``torchrun``: starts the processes of a distributed program.

    python -m taimatsu.distributed.run --nproc-per-node 4 train.py --epochs 3

Each has RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment, which
`init_process_group` reads. When one fails the others are ended, and its status is the launcher's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence

from .store import TCPStore

__all__ = ["get_args_parser", "main", "parse_args", "run"]


# Of PyTorch's elastic agent, which is not here.
_UNUSED = (
    "event-log-handler", "local-addr", "local-ranks-filter", "log-dir", "log-line-prefix-template",
    "logs-specs", "monitor-interval", "numa-binding", "rdzv-conf", "redirects", "role",
    "signals-to-handle", "start-method", "tee",
)  # fmt: skip


def get_args_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser("torchrun", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--nproc-per-node", "--nproc_per_node", default="1", help="a number, or 'auto', 'cpu'")
    add("--nnodes", default="1", help="how many machines")
    add("--node-rank", "--node_rank", type=int, default=0, help="which of them this is")
    add("--master-addr", "--master_addr", default="127.0.0.1", help="the host of rank 0")
    add("--master-port", "--master_port", type=int, default=0, help="0: a free one")
    add("--standalone", action="store_true", help="one machine, any free port")
    add("--rdzv-backend", "--rdzv_backend", default="static", help="not used")
    add("--rdzv-endpoint", "--rdzv_endpoint", default="", help="host:port of rank 0")
    add("--rdzv-id", "--rdzv_id", default="none", help="not used")
    add("--max-restarts", "--max_restarts", type=int, default=0, help="after failures")
    add("-m", "--module", action="store_true", help="the program is a module")
    add("--no-python", "--no_python", action="store_true", help="the program is no Python")
    for name in _UNUSED:
        add(f"--{name}", f"--{name.replace('-', '_')}", help="not used")
    add("training_script")
    add("training_script_args", nargs=argparse.REMAINDER)
    return parser


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    """What a command line says; that of the process unless it is given."""
    return get_args_parser().parse_args(args)


def _attempt(given: argparse.Namespace, count: int, attempt: int) -> int:
    """Runs the processes once; the status of the first that failed, or 0."""
    nodes = int(str(given.nnodes).partition(":")[0])
    host, _, port = given.rdzv_endpoint.rpartition(":")
    host = host or given.master_addr
    port = int(port or given.master_port)
    served = nodes == 1  # here, as a port that was free need not be so when a process asks for it
    if served:
        port = TCPStore(host, port, is_master=True).port
    run_id = str(uuid.uuid4())
    command = [] if given.no_python else [sys.executable, *(["-m"] if given.module else [])]
    command += [given.training_script, *given.training_script_args]
    processes = []
    for local in range(count):
        environment = {
            **os.environ, "LOCAL_RANK": str(local), "RANK": str(given.node_rank * count + local),
            "LOCAL_WORLD_SIZE": str(count), "WORLD_SIZE": str(nodes * count),
            "GROUP_RANK": str(given.node_rank), "MASTER_ADDR": host, "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": run_id, "TORCHELASTIC_RESTART_COUNT": str(attempt),
            "TORCHELASTIC_MAX_RESTARTS": str(given.max_restarts),
            "TORCHELASTIC_USE_AGENT_STORE": str(served),
        }  # fmt: skip
        if count > 1:
            environment.setdefault("OMP_NUM_THREADS", "1")
        processes.append(subprocess.Popen(command, env=environment))
    try:
        while True:
            statuses = [p.poll() for p in processes]
            failed = next((s for s in statuses if s), 0)
            if failed or all(s == 0 for s in statuses):
                return failed
            time.sleep(0.02)
    finally:
        _end(processes)


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def run(args: argparse.Namespace) -> None:
    """Runs the processes; SystemExit with the status of the first that failed."""
    named = args.nproc_per_node in ("auto", "cpu", "gpu")
    count = (os.cpu_count() or 1) if named else int(args.nproc_per_node)
    for attempt in range(args.max_restarts + 1):
        status = _attempt(args, count, attempt)
        if not status:
            return
    sys.exit(status if status > 0 else 128 - status)


def main(args: Sequence[str] | None = None) -> None:
    """`run` of a command line."""
    run(parse_args(args))


if __name__ == "__main__":
    main()
