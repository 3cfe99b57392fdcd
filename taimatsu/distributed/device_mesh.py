"""`DeviceMesh`: processes in a grid, with a group for each line of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import taimatsu as torch

from . import collectives as dist

__all__ = ["DeviceMesh", "init_device_mesh"]


class DeviceMesh:
    """Processes in a grid: ``mesh`` holds their ranks. All processes have to make it.

    Each process has a group for each dim: with those that differ from it in that dim only.
    ``mesh_dim_names`` name the dims; ``mesh["dp"]`` is the part of the grid along one of them (or
    several) that this process is in.

    >>> mesh = init_device_mesh("cpu", (1,), mesh_dim_names=("dp",))
    >>> mesh["dp"].size(), mesh.get_local_rank("dp")
    (1, 0)
    """

    def __init__(
        self, device_type: str, mesh: Any, *, mesh_dim_names: Sequence[str] | None = None,
        backend_override: Any = None, _init_backend: bool = True,
    ):  # fmt: skip
        self.device_type = device_type
        self.mesh = torch.as_tensor(mesh, dtype=torch.int64, device="cpu")
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        if self.mesh_dim_names is not None and len(self.mesh_dim_names) != self.mesh.dim():
            raise RuntimeError(
                f"DeviceMesh: needs a name for each of its {self.mesh.dim()} dims; got "
                f"{self.mesh_dim_names}"
            )
        if not dist.is_initialized() and _init_backend:
            dist.init_process_group()
        self._root: DeviceMesh | None = None
        self._groups: list[Any] = []
        self._flattened: dict[str, DeviceMesh] = {}
        self._rank = dist.get_rank()
        at = (self.mesh == self._rank).nonzero()
        self._coordinate = at[0].tolist() if len(at) else None
        if _init_backend:
            self._groups = [self._group_along(dim) for dim in range(self.mesh.dim())]

    def _group_along(self, dim: int) -> Any:
        """The group of this process's line; all processes make those of all lines."""
        lines = self.mesh.movedim(dim, -1).reshape(-1, self.mesh.shape[dim]).tolist()
        if lines == [list(range(dist.get_world_size()))]:
            return dist.GroupMember.WORLD
        found = None
        for ranks in lines:
            made = dist.new_group(ranks)
            found = made if self._rank in ranks else found
        return found

    # ---- about it
    @property
    def ndim(self) -> int:
        """How many dims it has."""
        return self.mesh.dim()

    @property
    def shape(self) -> tuple[int, ...]:
        """How many processes there are along each dim."""
        return tuple(self.mesh.shape)

    def size(self, mesh_dim: int | None = None) -> int:
        """How many processes there are, along a dim or in all."""
        return math.prod(self.shape) if mesh_dim is None else self.shape[mesh_dim]

    def _dim(self, mesh_dim: int | str | None) -> int:
        if isinstance(mesh_dim, str):
            if mesh_dim not in (self.mesh_dim_names or ()):
                raise KeyError(
                    f"Mesh dimension '{mesh_dim}' does not exist. Available mesh dimensions are: "
                    f"mesh_dim_names={self.mesh_dim_names}"
                )
            return (self.mesh_dim_names or ()).index(mesh_dim)
        if mesh_dim is None:
            if self.ndim != 1:
                raise RuntimeError(
                    f"Found the DeviceMesh have {self.ndim} dimensions; say which by mesh_dim"
                )
            return 0
        return mesh_dim

    def get_group(self, mesh_dim: int | str | None = None) -> Any:
        """The group of this process along a dim; of a mesh of one dim, that one."""
        return self._groups[self._dim(mesh_dim)]

    def get_all_groups(self) -> list[Any]:
        """The groups along all dims."""
        return list(self._groups)

    def get_rank(self) -> int:
        """This process's global rank."""
        return self._rank

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This process's place along a dim. RuntimeError outside of the mesh."""
        if self._coordinate is None:
            raise RuntimeError(f"rank {self._rank} is not part of {self}")
        return self._coordinate[self._dim(mesh_dim)]

    def get_coordinate(self) -> list[int] | None:
        """This process's place, or None outside of the mesh."""
        return None if self._coordinate is None else list(self._coordinate)

    # ---- parts of it
    def __getitem__(self, mesh_dim_names: str | tuple[str, ...]) -> DeviceMesh:
        names = (mesh_dim_names,) if isinstance(mesh_dim_names, str) else tuple(mesh_dim_names)
        if self.mesh_dim_names is None:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        if len(names) == 1 and names[0] in self._flattened:
            return self._flattened[names[0]]
        dims = [self._dim(name) for name in names]
        if dims == list(range(self.ndim)):
            return self
        key = [slice(None) if d in dims else (self._coordinate or [0] * self.ndim)[d]
               for d in range(self.ndim)]  # fmt: skip
        order = [sorted(dims).index(d) for d in dims]
        return self._part(self.mesh[tuple(key)].permute(order), names,
                          [self._groups[d] for d in dims])  # fmt: skip

    def _part(self, mesh: Any, names: tuple[str, ...], groups: list[Any]) -> DeviceMesh:
        part = DeviceMesh(self.device_type, mesh, mesh_dim_names=names, _init_backend=False)
        part._groups, part._root = groups, self._root or self
        return part

    def _flatten(self, mesh_dim_name: str | None = None) -> DeviceMesh:
        """The mesh of one dim of the same processes; ``root[name]`` gives it from then on."""
        name = mesh_dim_name or "_".join(self.mesh_dim_names or ())
        root = self._root or self
        if name not in root._flattened:
            names = root.mesh_dim_names or ()
            mine = [names.index(n) for n in self.mesh_dim_names or ()]
            others = [d for d in range(root.ndim) if d not in mine]
            lines = root.mesh.permute(*others, *mine).reshape(-1, self.size()).tolist()
            group = None
            for ranks in lines:
                made = dist.new_group(ranks)
                group = made if self._rank in ranks else group
            root._flattened[name] = root._part(self.mesh.flatten(), (name,), [group])
        return root._flattened[name]

    @staticmethod
    def from_group(
        group: Any, device_type: str, mesh: Any = None, *,
        mesh_dim_names: Sequence[str] | None = None,
    ) -> DeviceMesh:  # fmt: skip
        """A mesh over groups that there are: of one, or with the ranks' grid of several."""
        groups = list(group) if isinstance(group, (list, tuple)) else [group]
        if mesh is None:
            if len(groups) != 1:
                raise ValueError("Must pass mesh if passing multiple process groups")
            mesh = dist.get_process_group_ranks(groups[0])
        made = DeviceMesh(device_type, mesh, mesh_dim_names=mesh_dim_names, _init_backend=False)
        made._groups = groups
        return made

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, DeviceMesh)
            and self.device_type == other.device_type
            and self.mesh_dim_names == other.mesh_dim_names
            and self.shape == other.shape
            and torch.equal(self.mesh, other.mesh)
        )

    def __hash__(self) -> int:
        return hash((self.device_type, self.shape, tuple(self.mesh.flatten().tolist())))

    def __repr__(self) -> str:
        if self.mesh_dim_names is None:
            return f"DeviceMesh('{self.device_type}', {self.mesh.tolist()})"
        named = ", ".join(f"{n}={s}" for n, s in zip(self.mesh_dim_names, self.shape, strict=True))
        return f"DeviceMesh(({named}), '{self.device_type}')"


def init_device_mesh(
    device_type: str, mesh_shape: Sequence[int], *, mesh_dim_names: Sequence[str] | None = None,
    backend_override: Any = None,
) -> DeviceMesh:  # fmt: skip
    """The mesh of all processes, in order of their ranks.

    RuntimeError for names that are not one for each dim, or twice the same; ValueError for a type
    of device with an index, or a grid of another size than there are processes.

    >>> init_device_mesh("cpu", (1, 1), mesh_dim_names=("dp", "tp")).shape
    (1, 1)
    """
    if mesh_dim_names is not None:
        if len(set(mesh_dim_names)) != len(mesh_dim_names):
            raise RuntimeError(
                f"Each mesh_dim_name must be unique. Found repeated mesh_dim_name in "
                f"mesh_dim_names {mesh_dim_names}"
            )
        if len(mesh_shape) != len(mesh_dim_names):
            raise RuntimeError(
                "mesh_shape and mesh_dim_names should have same length; got "
                f"{len(mesh_shape)} and {len(mesh_dim_names)}"
            )
    if not device_type.isalpha():
        raise RuntimeError(
            f"Device type with index is not supported but got {device_type}; leave the index out"
        )
    if not dist.is_initialized():
        dist.init_process_group()
    size = math.prod(mesh_shape)
    if size > dist.get_world_size():
        raise RuntimeError(
            f"Mesh should not be bigger than default world size {dist.get_world_size()}, but found "
            f"{size} ranks!"
        )
    grid = torch.arange(size).reshape(*mesh_shape)
    return DeviceMesh(device_type, grid, mesh_dim_names=mesh_dim_names)
