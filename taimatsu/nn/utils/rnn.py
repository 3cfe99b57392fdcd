"""Sequences of several lengths: padded to one length, or packed step after step.

Packed, sequences lie longest first, and step after step without the rows of those that have ended:
of "abc" and "x" the data is "axbc", with ``batch_sizes`` [2, 1, 1].
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(typing.NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Packed sequences, made by ``pack_padded_sequence`` and ``pack_sequence``.

    ``data`` (rows, *), ``batch_sizes`` (steps) int64 on the CPU; ``sorted_indices`` says which
    sequence of the batch each one was, ``unsorted_indices`` where each one went; None if the batch
    was sorted. Raises ValueError for batch sizes that are not on the CPU.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError(
                    "PackedSequence: expected data to be a list or tuple of length 2, data and "
                    f"batch_sizes; got {type(data).__name__}"
                )
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                f"PackedSequence: batch_sizes should always be on the CPU; got {batch_sizes.device}"
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args, **kwargs) -> PackedSequence:
        """With ``data`` converted as by ``Tensor.to``, and the indices on its device."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = [
            i if i is None else i.to(data.device)
            for i in (self.sorted_indices, self.unsorted_indices)
        ]
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self) -> PackedSequence:
        return self.to("cpu")

    def cuda(self, device=None, **options) -> PackedSequence:
        return self.to("cuda" if device is None else device, **options)

    def pin_memory(self) -> PackedSequence:
        rest = (None if t is None else t.pin_memory() for t in self[1:])
        return type(self)(self.data.pin_memory(), *rest)

    def is_pinned(self) -> bool:
        return self.data.is_pinned()

    @property
    def is_cuda(self) -> bool:
        return self.data.is_cuda

    def double(self) -> PackedSequence:
        return self.to(torch.float64)

    def float(self) -> PackedSequence:
        return self.to(torch.float32)

    def half(self) -> PackedSequence:
        return self.to(torch.float16)

    def long(self) -> PackedSequence:
        return self.to(torch.int64)

    def int(self) -> PackedSequence:
        return self.to(torch.int32)

    def short(self) -> PackedSequence:
        return self.to(torch.int16)

    def char(self) -> PackedSequence:
        return self.to(torch.int8)

    def byte(self) -> PackedSequence:
        return self.to(torch.uint8)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another; None of None.

    >>> invert_permutation(torch.tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    if permutation is None:
        return None
    positions = torch.arange(permutation.numel(), device=permutation.device)
    return torch.empty_like(permutation).scatter_(0, permutation, positions)


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Packs padded sequences (T, B, *), or (B, T, *) if ``batch_first``.

    What lies beyond the ``lengths`` is left out. With ``enforce_sorted`` they must not increase;
    without, the batch is sorted and the order noted. Raises RuntimeError if they do, are not one
    for each sequence, or not between 1 and T.

    >>> packed = pack_padded_sequence(torch.tensor([[1, 2, 3], [4, 0, 0]]), [3, 1], True)
    >>> packed.data, packed.batch_sizes
    (tensor([1, 4, 2, 3]), tensor([2, 1, 1]))
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"pack_padded_sequence: input must be Tensor, not {type(input).__name__}")
    lengths = torch.as_tensor(lengths, dtype=torch.int64)
    if lengths.dim() != 1 or lengths.device.type != "cpu":
        raise RuntimeError(
            "pack_padded_sequence: 'lengths' should be a 1D CPU int64 tensor, but got "
            f"{lengths.dim()}D on {lengths.device}"
        )
    order = None
    if not enforce_sorted:
        lengths, order = lengths.sort(descending=True)
        order = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    steps = input.transpose(0, 1) if batch_first else input
    if input.numel() == 0:
        raise RuntimeError("pack_padded_sequence: Cannot pack empty tensors.")
    sizes, batch = lengths.tolist(), steps.size(1)
    if len(sizes) != batch:
        raise RuntimeError(
            "pack_padded_sequence: Expected `len(lengths)` to be equal to batch_size, but got "
            f"{len(sizes)} (batch_size={batch})"
        )
    if min(sizes) <= 0 or max(sizes) > steps.size(0):
        raise RuntimeError(
            "pack_padded_sequence: Length of all samples has to be greater than 0 and at most that "
            f"of the input, {steps.size(0)}; got {sizes}"
        )
    if any(a < b for a, b in zip(sizes, sizes[1:], strict=False)):
        raise RuntimeError(
            "pack_padded_sequence: `lengths` array must be sorted in decreasing order when "
            "`enforce_sorted` is True; pass `enforce_sorted=False` to have the batch sorted"
        )
    there = torch.arange(sizes[0]).unsqueeze(1) < lengths
    rows = there.flatten().nonzero().flatten().to(input.device)
    data = steps.flatten(0, 1).index_select(0, rows)
    return PackedSequence(data, there.sum(1), order)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded sequences (T, B, *), or (B, T, *), in the order before packing; their lengths.

    T is ``total_length`` if given; ValueError if that is less than the longest sequence.

    >>> packed = pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])])
    >>> pad_packed_sequence(packed, batch_first=True)
    (tensor([[1, 2, 3],
            [4, 0, 0]]), tensor([3, 1]))
    """
    data, batch_sizes, _, order = sequence
    longest, batch = batch_sizes.numel(), int(batch_sizes[0])
    if total_length is not None and total_length < longest:
        raise ValueError(
            "pad_packed_sequence: Expected total_length to be at least the length of the longest "
            f"sequence in input, but got total_length={total_length} and max sequence length "
            f"being {longest}"
        )
    there = batch_sizes.unsqueeze(1) > torch.arange(batch)
    rows = there.flatten().nonzero().flatten().to(data.device)
    steps = longest if total_length is None else total_length
    padded = data.new_full((steps * batch, *data.shape[1:]), padding_value)
    padded = padded.index_copy(0, rows, data).unflatten(0, (steps, batch))
    lengths = there.sum(0)
    if batch_first:
        padded = padded.transpose(0, 1)
    if order is not None:
        padded = padded.index_select(0 if batch_first else 1, order)
        lengths = lengths[order.cpu()]
    return padded, lengths


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (L, *) in one tensor (T, B, *), or (B, T, *), filled up to the longest.

    The dtype is the first one's. Raises RuntimeError if there are none, or their trailing sizes
    differ.

    >>> pad_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])], batch_first=True)
    tensor([[1, 2, 3],
            [4, 0, 0]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"pad_sequence: Expected padding_side to be one of left or right, but got "
            f"{padding_side}."
        )
    all_sequences = list(sequences)
    if not all_sequences:
        raise RuntimeError("pad_sequence: received an empty list of sequences")
    if any(s.dim() == 0 for s in all_sequences):
        raise RuntimeError("pad_sequence: sequences need at least one dim; got one of none")
    first, longest = all_sequences[0], max(s.size(0) for s in all_sequences)
    filler = first.new_full((longest, *first.shape[1:]), padding_value)
    pieces: list[Tensor] = []
    for s in all_sequences:
        pair = (s.to(first.dtype), filler[s.size(0) :])
        pieces += pair if padding_side == "right" else reversed(pair)
    padded = torch.cat(pieces).unflatten(0, (len(all_sequences), longest))
    return padded if batch_first else padded.transpose(0, 1).contiguous()


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded (T, B, *), or (B, T, *), each at its length.

    >>> unpad_sequence(torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1]), True)
    [tensor([1, 2, 3]), tensor([4])]
    """
    padded = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [s[: int(length)] for s, length in zip(padded, lengths, strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs sequences (L, *): ``pad_sequence`` and ``pack_padded_sequence``.

    >>> pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])]).data
    tensor([1, 4, 2, 3])
    """
    lengths = [s.size(0) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences that were packed, in their order.

    >>> unpack_sequence(pack_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])]))
    [tensor([1, 2, 3]), tensor([4])]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
