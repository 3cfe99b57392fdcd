"""Events and statistics of a running program."""

from datetime import datetime, timedelta

import pytest

from taimatsu import monitor
from taimatsu.monitor import Aggregation, Event, Stat


@pytest.fixture
def seen():
    events: list[Event] = []
    handle = monitor.register_event_handler(events.append)
    yield events
    monitor.unregister_event_handler(handle)


def test_handlers_get_events_until_they_leave(seen):
    event = Event("loss", datetime.now(), {"value": 0.5, "epoch": 1})
    monitor.log_event(event)
    assert seen == [event] and seen[0].data == {"value": 0.5, "epoch": 1}
    other: list[Event] = []
    handle = monitor.register_event_handler(other.append)
    monitor.unregister_event_handler(handle)
    monitor.log_event(event)
    assert other == [] and len(seen) == 2
    with pytest.raises(TypeError, match="values"):
        Event("x", datetime.now(), {"value": [1]})


def test_statistics_of_a_window(seen, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(monitor.time, "time", lambda: now[0])
    kinds = [Aggregation.MEAN, Aggregation.MAX, Aggregation.COUNT]
    stat = Stat("loss", kinds, timedelta(seconds=10), max_samples=3)
    for value in (1.0, 2.0, 6.0, 100.0):
        stat.add(value)
    expected = {Aggregation.MEAN: 3.0, Aggregation.MAX: 6.0, Aggregation.COUNT: 3.0}
    assert stat.get() == expected and stat.count == 3 and not seen
    now[0] += 10
    stat.add(5.0)
    assert seen[0].name == "torch.monitor.Stat"
    assert seen[0].data == {"loss.mean": 3.0, "loss.max": 6.0, "loss.count": 3.0}
    assert stat.count == 1

    class Writer:
        def __init__(self):
            self.scalars = []

        def add_scalar(self, tag, value, walltime=None):
            self.scalars.append((tag, value))

    writer = Writer()
    monitor.TensorboardEventHandler(writer)(seen[0])
    assert ("loss.mean", 3.0) in writer.scalars
