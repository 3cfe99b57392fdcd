"""The examples in the table's documentation, run."""

import doctest

import pytest

import taimatsu
from taimatsu.ops.table import ENTRIES

TABLE = tuple(ENTRIES)  # before other tests define ops of their own
EXAMPLES = {f"{op.module or ''}.{op.name}": op.doc for op in TABLE if ">>>" in op.doc}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    names = {"taimatsu": taimatsu}
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, None)
    said: list[str] = []
    found = doctest.DocTestRunner().run(test, out=said.append)
    assert found.attempted and not found.failed, "".join(said)


def test_every_op_has_one():
    """Or one of its overloads."""
    public = [op for op in TABLE if op.module not in (None, "optim") and op.name[0] != "_"]
    names = {(op.module, op.name.partition(".")[0]): False for op in public}
    for op in public:
        names[op.module, op.name.partition(".")[0]] |= ">>>" in op.doc
    assert [name for name, found in names.items() if not found] == []
