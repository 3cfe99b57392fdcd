"""The examples in the table's documentation, run."""

import doctest

import pytest

import taimatsu
from taimatsu.ops.table import ENTRIES

EXAMPLES = {op.name: op.doc for op in ENTRIES if op.doc and ">>>" in op.doc}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    names = {"taimatsu": taimatsu}
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, None)
    said: list[str] = []
    found = doctest.DocTestRunner().run(test, out=said.append)
    assert found.attempted and not found.failed, "".join(said)
