"""Programs and models, and what becomes of them under `torch.jit`."""
