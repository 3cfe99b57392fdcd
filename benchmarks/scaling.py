"""The workloads that threads should speed up, of all suites, with 1, 2 and 4 threads.

Times are the least of all rounds: a thread that others keep waiting makes a region as long as they
like, so that on a machine with other work medians tell of that work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from tqdm import tqdm

from .compare import Comparison, Result, geometric_mean
from .report import MISSED, duration
from .suites import SUITES
from .table import Group

THREADS = (1, 2, 4)
CHOSEN = re.compile(
    "|".join((
        r"kernels, 1e[57] elements: (add|exp|gelu|sum|sum_outer|var_inner|softmax|layer_norm|cumsum"
        r"|cross_entropy|add_|softmax backward|layer_norm backward)$",
        r"pointwise, 1e5 elements: (broadcast_row|transposed|strided|mixed)$",
        r"rows, 8 x 50000: (sum_inner|softmax_inner)$",
        r"matmul, float32: (128|256|512|1024) x ",
        r"matmul, other shapes: (bmm_16|bmm_64|scores|linear|tall_T_tall|matrix_vector)$",
        r"convolution.*: (3x3 64, 56|1x1 64 to 256|depthwise 3x3 128|3x3 16, 32)(: d[xw])?$",
        r"batch_norm and pooling.*: (batch_norm, training|max_pool2d|upsample)$",
        r"attention.*: (4 x 8 x 512 x 64|8 x 8 x 64 x 64)(, causal)?(, backward)?$",
        r"moving 1e6.*: (index_select|index_add|gather|scatter_add|embedding|embedding backward"
        r"|transposed_copy|permuted_copy|cat_outer|cat_inner|stack|to_bfloat16|clone)$",
        r"(sorting|selecting of|drawing) 1e[56].*: (sort|sort_rows|sort_int64|topk_10|topk_rows"
        r"|unique|randn|rand|bernoulli|dropout|randperm)$",
        r"parameters of 512 x 512: ",
        r"(MLP 784|ResNet|GPT, 4|encoder layer|char-LSTM|VAE).*: train step$",
    ))
)  # fmt: skip


def chosen(wanted: re.Pattern) -> list[Group]:
    """The groups that have such workloads, with these alone, as far as `wanted` goes."""

    def both(text: str) -> bool:
        return bool(CHOSEN.search(text) and wanted.search(text))

    groups = (group.only(both) for groups in SUITES.values() for group in groups)
    return [group for group in groups if group.workloads]


def gains(results: Sequence[Result], side: str) -> list[float]:
    """How many times as fast a side is as with the first number of threads."""
    times = [min(getattr(r, side)) for r in results]
    return [times[0] / t for t in times]


def ratio(result: Result) -> float:
    return min(result.peer) / min(result.ours)


def run(peer: str, groups: Iterable[Group], rounds: int, clock: str) -> dict[str, list[Result]]:
    """Measures and prints; by workload, a result for each number of threads."""
    found: dict[str, list[Result]] = {}
    threads = "".join(f"{n:>7}" for n in THREADS)
    print(f"{'threads':56}{threads}   {peer:>6} alone{threads[7:]}     ours alone{threads[7:]}")
    with ExitStack() as stack:
        sides = [stack.enter_context(Comparison(peer, n, clock)) for n in THREADS]
        for group in groups:
            print(group.name)
            for workload in tqdm(group.workloads, leave=False):
                results = [side.run(group, workload, rounds) for side in sides]
                tqdm.write(line(workload.name, results))
                if not any(r.error for r in results):
                    found[f"{group.name}: {workload.name}"] = results
    means = [geometric_mean(ratio(r[i]) for r in found.values()) for i in range(len(THREADS))]
    print(f"{'geometric mean':56}" + "".join(f"{m:7.2f}" for m in means))
    return found


def line(name: str, results: Sequence[Result]) -> str:
    """Ratios by number of threads; of each side the time with one thread, and the gains."""
    if failed := next((r.error for r in results if r.error), None):
        return f"  {name:54}{failed}  {MISSED}"
    text = f"  {name:54}" + "".join(f"{ratio(r):7.2f}" for r in results)
    for side in ("peer", "ours"):
        text += f"   {duration(min(getattr(results[0], side))):>12}"
        text += "".join(f"{g:7.2f}" for g in gains(results, side)[1:])
    return text
