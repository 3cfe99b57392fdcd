"""What the other process of test_sharing.py does."""

from __future__ import annotations

import driver_double

driver_double.follow_kernels()

import taimatsu as torch  # noqa: E402


def serve(inbox, outbox):
    """Does what it is told, one after the other: (what, tensor) in, an answer out."""
    held = []
    while True:
        what, x = inbox.get()
        if what == "read":
            outbox.put((str(x.device), x.tolist(), x.requires_grad))
        elif what == "write":
            x += 1
            torch.cuda.synchronize()
            outbox.put(x.data_ptr())
        elif what == "sum of all":
            outbox.put(sum(t.double().sum().item() for t in x))
        elif what == "hold":
            held.append(x)
            outbox.put(None)
        elif what == "let go":
            held.clear()
            outbox.put(None)
        elif what == "held":
            outbox.put([t.tolist() for t in held])
        elif what == "send on":
            try:
                torch.multiprocessing.reductions.pack(x)
            except RuntimeError as error:
                outbox.put(str(error))
        elif what == "wait for":
            event = torch.cuda.Event.from_ipc_handle(0, x[0])
            event.synchronize()
            outbox.put((event.query(), x[1].tolist()))
        elif what == "stop":
            break
        del x


def double_it(x, outbox):
    x *= 2
    torch.cuda.synchronize()
    outbox.put(len(x))
