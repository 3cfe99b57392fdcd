"""Parts of PyTorch's compiler that programs ask; see `taimatsu.fx`."""
