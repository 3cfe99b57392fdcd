"""Other names of the top level."""

import taimatsu as torch


def test_names_of_other_times():
    assert torch.legacy_contiguous_format is torch.contiguous_format
    assert torch.Storage is torch.FloatStorage and torch.StorageBase is torch.UntypedStorage
    assert torch.AVG is torch.AggregationType.AVG and torch.SUM.value == 0
    for error in (torch.AcceleratorError, torch.FatalError, torch.JITException):
        assert issubclass(error, RuntimeError)
