"""Speed against a peer library: ratios, measured side by side in one run. See RESULTS.md.

    python -m benchmarks                      # everything against PyTorch, one thread
    python -m benchmarks kernels --filter softmax --threads 4

A workload is written once, as statements about `torch`, and run by both libraries (`table`,
`overhead`, `kernels`, `matmul`, `models`); `compare` runs them in turn in two worker processes;
`footprint` measures what importing, installing and a first run cost; `report` prints.
"""
