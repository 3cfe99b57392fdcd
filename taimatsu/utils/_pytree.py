"""Nested containers of leaves: tuples, lists, dicts and their kin, taken apart and put together.

>>> leaves, spec = tree_flatten({"a": 1, "b": [2, (3,)]})
>>> leaves
[1, 2, 3]
>>> tree_unflatten([10, 20, 30], spec)
{'a': 10, 'b': [20, (30,)]}
"""

from __future__ import annotations

import dataclasses
import typing
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from typing import Any

from taimatsu import Size

__all__ = [
    "GetAttrKey",
    "MappingKey",
    "SequenceKey",
    "TreeSpec",
    "keystr",
    "register_pytree_node",
    "tree_all",
    "tree_any",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_iter",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_map_with_path",
    "tree_structure",
    "tree_unflatten",
]


class NodeDef(typing.NamedTuple):
    """How containers of one class are taken apart: children and a context, and back."""

    flatten_fn: Callable[[Any], tuple[list, Any]]
    unflatten_fn: Callable[[Iterable, Any], Any]
    flatten_with_keys_fn: Callable[[Any], tuple[list, Any]] | None = None  # by default by position


class SequenceKey(typing.NamedTuple):
    """The way to a child by its position."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, parent: Any) -> Any:
        """The child."""
        return parent[self.idx]


class MappingKey(typing.NamedTuple):
    """The way to a child by its key."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, parent: Any) -> Any:
        """The child."""
        return parent[self.key]


class GetAttrKey(typing.NamedTuple):
    """The way to a child by its attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, parent: Any) -> Any:
        """The child."""
        return getattr(parent, self.name)


def keystr(kp: Iterable[Any]) -> str:
    """A path as it would be written: ``['a'][0].weight``."""
    return "".join(map(str, kp))


def _list_flatten(items: list) -> tuple[list, None]:
    return items, None


def _list_flatten_with_keys(items: list) -> tuple[list, None]:
    return [(SequenceKey(i), v) for i, v in enumerate(items)], None


def _list_unflatten(values: Iterable, context: None) -> list:
    return list(values)


def _dict_flatten(d: dict) -> tuple[list, list]:
    return list(d.values()), list(d)


def _dict_flatten_with_keys(d: dict) -> tuple[list, list]:
    return [(MappingKey(k), v) for k, v in d.items()], list(d)


def _dict_unflatten(values: Iterable, keys: list) -> dict:
    return dict(zip(keys, values, strict=True))


def _keyed(node: NodeDef, tree: Any) -> list[tuple[Any, Any]]:
    """The children, each with its key."""
    if node.flatten_with_keys_fn is not None:
        return node.flatten_with_keys_fn(tree)[0]
    children = node.flatten_fn(tree)[0]
    if isinstance(tree, dict):
        return [(MappingKey(k), child) for k, child in zip(tree, children, strict=True)]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [(GetAttrKey(n), child) for n, child in zip(tree._fields, children, strict=True)]
    return [(SequenceKey(i), child) for i, child in enumerate(children)]


def _mapping(make: Callable[[Any, dict], Any], context: Callable[[Any], Any]) -> NodeDef:
    return NodeDef(
        lambda d: (list(d.values()), (list(d), context(d))),
        lambda children, c: make(c[1], dict(zip(c[0], children, strict=True))),
    )


_nodes: dict[Any, NodeDef] = {
    tuple: NodeDef(lambda t: (list(t), None), lambda children, _: tuple(children)),
    list: NodeDef(lambda t: (list(t), None), lambda children, _: list(children)),
    Size: NodeDef(lambda t: (list(t), None), lambda children, _: tuple(children)),
    dict: _mapping(lambda _, d: d, lambda d: None),
    OrderedDict: _mapping(lambda _, d: OrderedDict(d), lambda d: None),
    defaultdict: _mapping(lambda f, d: defaultdict(f, d), lambda d: d.default_factory),
    deque: NodeDef(lambda q: (list(q), q.maxlen), lambda children, n: deque(children, n)),
    namedtuple: NodeDef(lambda t: (list(t), type(t)), lambda children, cls: cls(*children)),
}


def register_pytree_node(
    cls: type,
    flatten_fn: Callable[[Any], tuple[list, Any]],
    unflatten_fn: Callable[[Iterable, Any], Any],
    *,
    flatten_with_keys_fn: Callable[[Any], tuple[list, Any]] | None = None,
    **serialization: Any,
) -> None:
    """Make instances of `cls` containers: ``flatten_fn(x)`` gives children and a context,
    ``unflatten_fn(children, context)`` makes one of them; ``flatten_with_keys_fn(x)`` gives the
    children with their keys. ValueError if it is one already."""
    if cls in _nodes:
        raise ValueError(f"{cls} is already registered as pytree node")
    _nodes[cls] = NodeDef(flatten_fn, unflatten_fn, flatten_with_keys_fn)


_register_pytree_node = register_pytree_node


def _node_of(tree: Any) -> NodeDef | None:
    cls = type(tree)
    if cls in _nodes:
        return _nodes[cls]
    if is_namedtuple_class(cls):
        return _nodes[namedtuple]
    if is_structseq_class(cls):  # torch.return_types.max
        return NodeDef(lambda t: (list(t), None), lambda children, _: cls(children))
    return None


class TreeSpec(typing.NamedTuple):
    """The structure of a tree without its leaves."""

    type: Any  # None of a leaf
    context: Any
    children_specs: tuple[TreeSpec, ...]
    unflatten: Callable | None = None

    @property
    def num_leaves(self) -> int:
        """How many leaves the tree has."""
        return 1 if self.type is None else sum(c.num_leaves for c in self.children_specs)

    @property
    def num_nodes(self) -> int:
        """How many nodes the tree has, leaves among them."""
        return 1 + sum(c.num_nodes for c in self.children_specs)

    @property
    def num_children(self) -> int:
        """How many children the root has."""
        return len(self.children_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeSpec) and self[:3] == other[:3]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.type, self.children_specs))

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        children = ", ".join(map(repr, self.children_specs))
        return f"TreeSpec({self.type.__name__}, {self.context}, [{children}])"

    def is_leaf(self) -> bool:
        """Whether the tree is a single leaf."""
        return self.type is None

    def unflatten_leaves(self, leaves: Iterable) -> Any:
        """The tree with these leaves."""
        return tree_unflatten(leaves, self)


_LEAF = TreeSpec(None, None, ())


def LeafSpec() -> TreeSpec:
    """The structure of a single leaf."""
    return _LEAF


def _get_node_type(tree: Any) -> Any:
    """The class under which a tree's root was registered."""
    return namedtuple if is_namedtuple_instance(tree) else type(tree)


def is_namedtuple_class(cls: Any) -> bool:
    """Whether a class was made by `collections.namedtuple` or `typing.NamedTuple`."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def is_namedtuple_instance(obj: Any) -> bool:
    """Whether an object is a named tuple."""
    return is_namedtuple_class(type(obj))


def is_namedtuple(obj: Any) -> bool:
    """Whether an object, or a class, is that of named tuples."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_structseq_class(cls: Any) -> bool:
    """Whether a class is that of an op's named results (`torch.return_types`)."""
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "n_sequence_fields")


def is_structseq_instance(obj: Any) -> bool:
    """Whether an object is an op's named results."""
    return is_structseq_class(type(obj))


def is_structseq(obj: Any) -> bool:
    """Whether an object, or a class, is that of an op's named results."""
    return is_structseq_class(obj if isinstance(obj, type) else type(obj))


def tree_is_leaf(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether a tree is a single leaf.

    >>> tree_is_leaf(1), tree_is_leaf([1])
    (True, False)
    """
    return (is_leaf is not None and is_leaf(tree)) or _node_of(tree) is None


def register_dataclass(
    cls: type, *, field_names: list[str] | None = None, drop_field_names: list[str] | None = None,
    serialized_type_name: str | None = None,
) -> None:  # fmt: skip
    """Make a data class's instances containers of its fields; those of None are left out."""
    names = field_names or [f.name for f in dataclasses.fields(cls) if f.init]
    names = [n for n in names if n not in (drop_field_names or ())]

    def flatten(x: Any) -> tuple[list, Any]:
        there = [n for n in names if getattr(x, n) is not None]
        missing = tuple(n for n in names if getattr(x, n) is None)
        return [getattr(x, n) for n in there], (tuple(there), missing)

    def flatten_with_keys(x: Any) -> tuple[list, Any]:
        values, context = flatten(x)
        return [(GetAttrKey(n), v) for n, v in zip(context[0], values, strict=True)], context

    def unflatten(values: Iterable, context: Any) -> Any:
        there, missing = context
        return cls(**dict(zip(there, values, strict=True)), **dict.fromkeys(missing))

    register_pytree_node(cls, flatten, unflatten, flatten_with_keys_fn=flatten_with_keys)


def register_constant(cls: type) -> None:
    """Make instances of a class parts of the structure, rather than leaves."""
    register_pytree_node(cls, lambda x: ([], x), lambda values, x: x)


SUPPORTED_NODES = _nodes
PyTree = Context = Any


def tree_flatten(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[Any], TreeSpec]:
    """The leaves, from left to right, and the structure around them.

    What ``is_leaf`` says yes to is not taken apart.
    """
    node = None if is_leaf is not None and is_leaf(tree) else _node_of(tree)
    if node is None:
        return [tree], _LEAF
    children, context = node.flatten_fn(tree)
    leaves: list[Any] = []
    specs = []
    for child in children:
        below, spec = tree_flatten(child, is_leaf)
        leaves += below
        specs.append(spec)
    return leaves, TreeSpec(type(tree), context, tuple(specs), node.unflatten_fn)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of this structure with these leaves. ValueError if their number is another one."""
    leaves = list(leaves)
    if len(leaves) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten: the structure has {treespec.num_leaves} leaves; got {len(leaves)}"
        )
    return _build(iter(leaves), treespec)


def _build(leaves: Any, spec: TreeSpec) -> Any:
    if spec.type is None:
        return next(leaves)
    make = spec.unflatten or _nodes[spec.type].unflatten_fn
    return make([_build(leaves, c) for c in spec.children_specs], spec.context)


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves, from left to right."""
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """An iterator over the leaves."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The structure around the leaves."""
    return tree_flatten(tree, is_leaf)[1]


def _prefix(tree: Any, spec: TreeSpec) -> list[Any]:
    """The leaves of a tree that has at least the structure of `spec`."""
    if spec.type is None:
        return [tree]
    node = _node_of(tree)
    if node is None or type(tree) is not spec.type:
        raise ValueError(f"tree_map: expected a {spec.type.__name__}, got {type(tree).__name__}")
    children, context = node.flatten_fn(tree)
    if len(children) != len(spec.children_specs) or context != spec.context:
        raise ValueError(f"tree_map: the trees differ inside of a {spec.type.__name__}")
    found = []
    for child, child_spec in zip(children, spec.children_specs, strict=True):
        found += _prefix(child, child_spec)
    return found


def _broadcast_to_and_flatten(tree: Any, treespec: TreeSpec) -> list[Any] | None:
    """For each leaf of `treespec` the leaf of `tree` that is in its place, or above it.

    None if `tree` isn't the beginning of such a structure.
    """
    node = _node_of(tree)
    if node is None:
        return [tree] * treespec.num_leaves
    if type(tree) is not treespec.type:
        return None
    children, context = node.flatten_fn(tree)
    if len(children) != len(treespec.children_specs) or context != treespec.context:
        return None
    parts = [
        _broadcast_to_and_flatten(c, s)
        for c, s in zip(children, treespec.children_specs, strict=True)
    ]
    return None if None in parts else [leaf for part in parts for leaf in part]  # type: ignore


def tree_map(
    func: Callable[..., Any],
    tree: Any,
    *rests: Any,
    is_leaf: Callable[[Any], bool] | None = None,
) -> Any:
    """The tree of ``func(leaf, ...)``, with the corresponding leaves of further trees.

    >>> tree_map(lambda a, b: a + b, (1, [2]), (10, [20]))
    (11, [22])
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [_prefix(rest, spec) for rest in rests]
    return tree_unflatten([func(*each) for each in zip(leaves, *others, strict=True)], spec)


def tree_leaves_with_path(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> list[tuple[tuple, Any]]:
    """The leaves, each with the keys that lead to it.

    >>> [(keystr(path), leaf) for path, leaf in tree_leaves_with_path({"a": [1, 2]})]
    [("['a'][0]", 1), ("['a'][1]", 2)]
    """
    node = None if is_leaf is not None and is_leaf(tree) else _node_of(tree)
    if node is None:
        return [((), tree)]
    return [
        ((key, *path), leaf)
        for key, child in _keyed(node, tree)
        for path, leaf in tree_leaves_with_path(child, is_leaf)
    ]


def tree_flatten_with_path(
    tree: Any, is_leaf: Callable[[Any], bool] | None = None
) -> tuple[list[tuple[tuple, Any]], TreeSpec]:
    """`tree_leaves_with_path` and the structure."""
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


def tree_map_with_path(
    func: Callable[..., Any],
    tree: Any,
    *rests: Any,
    is_leaf: Callable[[Any], bool] | None = None,
) -> Any:
    """`tree_map` of a function that is given the leaf's path first."""
    leaves, spec = tree_flatten_with_path(tree, is_leaf)
    others = [_prefix(rest, spec) for rest in rests]
    each = zip(leaves, *others, strict=True)
    return tree_unflatten([func(path, leaf, *rest) for (path, leaf), *rest in each], spec)


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any) -> Any:
    """Calls ``func`` on the leaves for what it does; the tree itself is given back."""
    tree_map(func, tree, *rests)
    return tree


def tree_map_only(kind: Any, func: Callable[[Any], Any], tree: Any) -> Any:
    """`tree_map` on the leaves that are instances of `kind`."""
    return tree_map(lambda leaf: func(leaf) if isinstance(leaf, kind) else leaf, tree)


def tree_all(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Whether ``pred`` holds of all leaves."""
    return all(map(pred, tree_leaves(tree)))


def tree_any(pred: Callable[[Any], bool], tree: Any) -> bool:
    """Whether ``pred`` holds of a leaf."""
    return any(map(pred, tree_leaves(tree)))
