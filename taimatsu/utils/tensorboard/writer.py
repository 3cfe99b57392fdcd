"""`SummaryWriter`: scalars, histograms, images and text as events that TensorBoard shows."""

from __future__ import annotations

import io
import os
import socket
import time
import typing
from datetime import datetime
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.summary.writer.record_writer import RecordWriter

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]


def _array(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)


def _number(x: Any) -> float:
    """A scalar to be logged. NotImplementedError for lists and the like, AssertionError for more
    than one element."""
    if not isinstance(x, (bool, int, float, str, np.ndarray, np.generic)) and not hasattr(
        x, "detach"
    ):
        raise NotImplementedError(
            f"SummaryWriter: Got {type(x)}, but numpy array or torch tensor are expected."
        )
    array = _array(x)
    if array.size != 1:
        raise AssertionError(
            "SummaryWriter: Tensor should contain one element (0 dimensions). Was given size: "
            f"{array.size} and {array.ndim} dimensions."
        )
    return float(array.reshape(()))


class FileWriter:
    """Events in a file of a folder."""

    def __init__(
        self, log_dir: str, max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = ""
    ):
        self.event_writer = EventFileWriter(str(log_dir), max_queue, flush_secs, filename_suffix)

    def get_logdir(self) -> str:
        """The folder."""
        return self.event_writer.get_logdir()

    def add_event(self, event: Any, step: int | None = None, walltime: float | None = None) -> None:
        """An event, of a step and a time."""
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(step)
        self.event_writer.add_event(event)

    def add_summary(
        self, summary: Any, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """Values, as an event."""
        self.add_event(Event(summary=summary), global_step, walltime)

    def flush(self) -> None:
        """Writes what is waiting."""
        self.event_writer.flush()

    def close(self) -> None:
        """Writes what is waiting, and closes the file."""
        self.event_writer.close()


class SummaryWriter:
    """Logs of a run, in ``log_dir``, by default ``runs/<time>_<host><comment>``.

    >>> with SummaryWriter() as writer:  # doctest: +SKIP
    ...     writer.add_scalar("loss", 0.5, global_step=1)
    """

    def __init__(
        self, log_dir: str | None = None, comment: str = "", purge_step: int | None = None,
        max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = "",
    ):  # fmt: skip
        now = datetime.now().strftime("%b%d_%H-%M-%S")
        default = os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")
        self.log_dir = str(log_dir or default)
        self._options = (max_queue, flush_secs, filename_suffix)
        self._file_writer: FileWriter | None = FileWriter(self.log_dir, *self._options)
        self._beside: dict[str, FileWriter] = {}  # for lines of one chart

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def _add(self, value: Any, step: int | None, walltime: float | None) -> None:
        self.file_writer.add_summary(Summary(value=[value]), step, walltime)

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None,
        walltime: float | None = None, **options: Any,
    ) -> None:  # fmt: skip
        """A number."""
        number = _number(scalar_value)
        self._add(Summary.Value(tag=tag, simple_value=number), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Numbers that are lines of one chart."""
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag}_{tag}".replace("/", "_"))
            if folder not in self._beside:
                self._beside[folder] = FileWriter(folder, *self._options)
            number = _number(value)
            summary = Summary(value=[Summary.Value(tag=main_tag, simple_value=number)])
            self._beside[folder].add_summary(summary, global_step, walltime)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = 64,
        walltime: float | None = None, max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """How values are distributed. ValueError if there are none."""
        flat = _array(values).astype("float64").reshape(-1)
        if not flat.size:
            raise ValueError("The input has no element.")
        counts, limits = np.histogram(flat, 64 if bins == "tensorflow" else bins)
        histogram = HistogramProto(
            min=flat.min(), max=flat.max(), num=flat.size, sum=flat.sum(),
            sum_squares=flat.dot(flat), bucket_limit=limits[1:].tolist(), bucket=counts.tolist(),
        )  # fmt: skip
        self._add(Summary.Value(tag=tag, histo=histogram), global_step, walltime)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Text, as Markdown."""
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(
            dtype="DT_STRING", string_val=[text_string.encode()], tensor_shape=shape
        )
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        value = Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)
        self._add(value, global_step, walltime)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None,
        walltime: float | None = None, dataformats: str = "CHW",
    ) -> None:  # fmt: skip
        """A picture, of bytes or of numbers in [0, 1]; needs Pillow."""
        from PIL import Image

        picture = _array(img_tensor)
        if picture.dtype != np.uint8:
            picture = (picture * 255).clip(0, 255).astype("uint8")
        order = dataformats.upper()
        if order == "HW":
            picture, order = picture[:, :, None], "HWC"
        picture = picture.transpose([order.index(d) for d in "HWC"])
        if picture.shape[2] == 1:
            picture = picture.repeat(3, 2)
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "PNG")
        height, width, channels = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=data.getvalue()
        )
        self._add(Summary.Value(tag=tag, image=image), global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None,
        walltime: float | None = None, dataformats: str = "NCHW",
    ) -> None:  # fmt: skip
        """Pictures side by side."""
        order = dataformats.upper()
        each = _array(img_tensor).transpose([order.index(d) for d in "NCHW"])
        self.add_image(tag, np.concatenate(list(each), axis=2), global_step, walltime)

    def add_figure(
        self, tag: str, figure: Any, global_step: int | None = None, close: bool = True,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A figure of Matplotlib."""
        figure.canvas.draw()
        picture = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]
        self.add_image(tag, picture, global_step, walltime, dataformats="HWC")
        if close:
            import matplotlib.pyplot as plt

            plt.close(figure)

    def add_hparams(
        self, hparam_dict: dict[str, Any], metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list] | None = None, run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:  # fmt: skip
        """Hyperparameters and what came of them, as a run beside: `run_name`, by default the time.

        TypeError and ValueError as of `summary.hparams`.
        """
        from .summary import hparams

        described = hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        folder = os.path.join(self.log_dir, run_name or str(time.time()))
        with SummaryWriter(folder) as run:
            for summary in described:
                run.file_writer.add_summary(summary, global_step)
            for tag, value in metric_dict.items():
                run.add_scalar(tag, value, global_step)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("add_"):
            raise NotImplementedError(
                f"SummaryWriter.{name}: scalars, histograms, images, figures, text and "
                "hyperparameters are written"
            )
        raise AttributeError(name)

    def flush(self) -> None:
        """Writes what is waiting; after `close` there is nothing."""
        for writer in self._open():
            writer.flush()

    def close(self) -> None:
        """Writes what is waiting, and closes the files. What is added later goes to new ones."""
        for writer in self._open():
            writer.close()
        self._file_writer = None
        self._beside.clear()

    def _open(self) -> list[FileWriter]:
        main = [] if self._file_writer is None else [self._file_writer]
        return [*main, *self._beside.values()]

    @property
    def file_writer(self) -> FileWriter:
        """What writes the run's own file."""
        if self._file_writer is None:
            self._file_writer = FileWriter(self.log_dir, *self._options)
        return self._file_writer

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
