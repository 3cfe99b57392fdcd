"""What suites of PyTorch's kind are built from; see `common_utils`."""
