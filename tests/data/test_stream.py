"""The stream: the same batches whatever reads them, every example served, faults named."""

import functools
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import psutil
import pytest

from bodyjax.data import read_ahead
from bodyjax.data.read_ahead import stack
from bodyjax.data.stream import Mixture, Stream, describe
from bodyjax.errors import ConfigError, DataError


class Numbers:
    """Example i is the number first + i; `broken` raise, `slow` sleep for a minute."""

    labels = groups = None
    classes, bad = (), ()

    def __init__(
        self, length: int, broken: tuple[int, ...] = (), slow: tuple[int, ...] = (), first: int = 0
    ) -> None:
        self.length, self.broken, self.slow, self.first = length, broken, slow, first
        self.heldout, self.left_out = np.zeros(length, bool), {"odd": 1}
        self.names = tuple(str(first + i) for i in range(length))
        self.fingerprint = f"numbers {length}"

    def __len__(self) -> int:
        return self.length

    def name(self, index: int) -> str:
        return f"number-{index}"

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if index in self.broken:
            raise ValueError("this one is broken")
        if index in self.slow:
            time.sleep(60)
        return {"number": np.asarray(self.first + index)}


def noisy(example: dict, rng: np.random.Generator, scale: float = 1.0) -> dict:
    return {**example, "noise": scale * rng.standard_normal(3)}


def take(stream: Stream, start: int, count: int) -> list[dict]:
    return list(itertools.islice(stream.train_batches(start), count))


def same(one: list[dict], other: list[dict]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def stream(length: int = 70, batch_size: int = 8, **settings) -> Stream:
    source = settings.pop("source", Numbers(length))
    settings = {"seed": 3, "transform": noisy, **settings}
    return Stream(source, batch_size=batch_size, **settings)


def test_each_epoch_serves_every_example_once_in_another_order():
    numbers = np.concatenate([batch["number"] for batch in take(stream(), 0, 35)])
    epochs = numbers.reshape(4, 70)
    for epoch in epochs:
        assert sorted(epoch) == list(range(70))
    assert all((a != b).any() for a, b in itertools.combinations(epochs, 2))


def test_random_numbers_belong_to_epoch_and_example():
    batches = take(stream(), 0, 35)
    numbers = np.concatenate([batch["number"] for batch in batches])
    noise = np.concatenate([batch["noise"] for batch in batches])
    for position in (0, 69, 70, 200):
        words = np.random.SeedSequence((3, position // 70, numbers[position]))
        expected = np.random.Generator(np.random.Philox(words)).standard_normal(3)
        np.testing.assert_array_equal(noise[position], expected)


@pytest.mark.parametrize("start", [0, 1, 7, 10_000])
def test_starting_later_gives_the_same_batches(start):
    same(take(stream(), start, 6)[3:], take(stream(), start + 3, 3))


def test_skipping_reads_nothing():
    read = []

    def note(example, rng):
        read.append(int(example["number"]))
        return example

    batch = take(stream(transform=note), 10_000, 1)[0]
    assert len(read) <= 8 * 5  # the batch itself and what was read ahead of it
    assert set(batch["number"]) <= set(read)


def test_another_seed_gives_another_order():
    one, other = take(stream(), 0, 1)[0], take(stream(seed=4), 0, 1)[0]
    assert (one["number"] != other["number"]).any()


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_take_slices_of_the_same_batches(hosts):
    alone = take(stream(), 5, 4)
    shares = [take(stream(host_index=h, host_count=hosts), 5, 4) for h in range(hosts)]
    joined = [
        {name: np.concatenate([share[i][name] for share in shares]) for name in alone[0]}
        for i in range(4)
    ]
    same(alone, joined)


def test_worker_processes_change_nothing():
    same(take(stream(), 4, 6), take(stream(workers=2), 4, 6))
    here, there = (stream(eval_source=Numbers(13), workers=workers) for workers in (0, 1))
    same(list(here.eval_batches()), list(there.eval_batches()))


@pytest.mark.parametrize(("length", "hosts"), [(1, 1), (8, 1), (13, 1), (13, 2), (5, 4), (17, 4)])
def test_evaluation_sees_every_example_once(length, hosts):
    seen, shapes = [], set()
    for host in range(hosts):
        feed = stream(eval_source=Numbers(length), host_index=host, host_count=hosts)
        for batch in feed.eval_batches():
            shapes.add(batch["mask"].shape)
            seen.extend(batch["number"][batch["mask"]])
    assert sorted(seen) == list(range(length))
    assert shapes == {(8 // hosts,)}


def test_evaluation_is_the_same_each_time_and_has_its_own_random_numbers():
    feed = stream(source=Numbers(8), eval_source=Numbers(8))
    once = list(feed.eval_batches())
    same(once, list(feed.eval_batches()))
    train = take(feed, 0, 1)[0]
    assert not np.isin(once[0]["noise"], train["noise"]).any()


def test_no_evaluation_source_gives_no_batches():
    assert list(stream().eval_batches()) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_example_is_named(workers):
    feed = stream(source=Numbers(20, broken=(11,)), workers=workers)
    with pytest.raises(DataError, match=r"number-11.*this one is broken"):
        take(feed, 0, 10)


def test_a_failing_transform_names_the_example():
    def fail(example, rng):
        return {"x": 1 / (example["number"] - 4)} if example["number"] != 4 else 1 // 0

    with pytest.raises(DataError, match=r"number-4.*ZeroDivisionError"):
        take(stream(source=Numbers(8), transform=fail), 0, 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_hanging_example_is_named(workers):
    feed = stream(source=Numbers(16, slow=(5,)), workers=workers, timeout_s=1.5)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"number-5 takes more than 1\.5 s"):
        take(feed, 0, 20)
    assert time.monotonic() - began < 40


def test_examples_of_other_shapes_are_an_error():
    def ragged(example, rng):
        return {"x": np.zeros(int(example["number"]) % 2 + 1)}

    with pytest.raises(DataError, match=r"x has shapes \(1,\) and \(2,\)"):
        take(stream(transform=ragged), 0, 1)
    with pytest.raises(DataError, match=r"examples with \['a'\] and \['b'\]"):
        stack([{"a": np.zeros(1)}, {"b": np.zeros(1)}])


def test_the_name_of_the_padding_is_taken():
    def clash(example, rng):
        return {**example, "mask": np.ones(())}

    with pytest.raises(DataError, match="mask"):
        list(stream(transform=clash, eval_source=Numbers(3)).eval_batches())


def test_what_can_not_be_served_is_refused():
    with pytest.raises(ConfigError, match="seed: -1 should be"):
        stream(seed=-1)
    with pytest.raises(ConfigError, match="host 0 of 3"):
        stream(host_count=3)
    with pytest.raises(DataError, match="empty"):
        stream(source=Numbers(0))
    source = Numbers(4)
    source.heldout = np.array([False, True, False, False])
    with pytest.raises(DataError, match="1 held-out"):
        stream(source=source)


def test_mixture_keeps_shares_and_goes_through_each_source():
    mixed = Mixture([Numbers(40), Numbers(10, first=40)], [3, 1])
    feed = stream(source=mixed, transform=lambda example, rng: example)
    rows = np.concatenate([batch["number"] for batch in take(feed, 0, 20)])
    first = rows[rows < 40]
    second = rows[rows >= 40]
    assert (len(first), len(second)) == (120, 40)
    for part, length in ((first, 40), (second, 10)):
        for epoch in part.reshape(-1, length):
            assert len(set(epoch)) == length
    for stretch in rows.reshape(-1, 16):  # shares hold on every stretch
        assert abs((stretch < 40).sum() - 12) <= 1
    same(take(feed, 2, 4)[2:], take(feed, 4, 2))
    assert mixed.name(41) == "number-1"
    assert (mixed.names[41], len(mixed.heldout), mixed.left_out) == ("41", 50, {"odd": 2})


def test_mixture_refuses_odd_weights():
    with pytest.raises(ConfigError):
        Mixture([Numbers(3)], [1, 2])
    with pytest.raises(ConfigError):
        Mixture([Numbers(3)], [0])


def test_fingerprint_tells_sources_and_settings():
    base = stream(transform=functools.partial(noisy, scale=2.0))
    assert base.fingerprint == stream(transform=functools.partial(noisy, scale=2.0)).fingerprint
    assert base.fingerprint != stream(transform=functools.partial(noisy, scale=3.0)).fingerprint
    assert base.fingerprint != stream(length=71, transform=base.transform).fingerprint
    assert "0x" not in describe(functools.partial(noisy, rng=describe, other=np.zeros(3)))


def test_a_stream_that_is_left_stops_its_threads():
    before = threading.active_count()
    batches = stream().train_batches(0)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() <= before


def test_no_thread_is_left_when_the_interpreter_ends():
    program = """
import atexit
import threading

atexit.register(lambda: print(threading.active_count()))  # the first to register runs last

from bodyjax.data.stream import Stream
from tests.data.test_stream import Numbers, noisy

batches = Stream(Numbers(9), noisy, seed=0, batch_size=4).train_batches(0)
next(batches)
assert threading.active_count() > 1
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files that nobody else uses; not seen by this process before."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    read_ahead.remove_abandoned.cache_clear()
    yield tmp_path
    read_ahead.remove_abandoned.cache_clear()


READS = """
import time
from bodyjax.data.stream import Stream
from tests.data.test_stream import Numbers, noisy

batches = Stream(Numbers(9), noisy, seed=0, batch_size=4).train_batches(0)
next(batches)
print("reading", flush=True)
time.sleep(600)
"""


def left_by_another_stream(temporary, old):
    """The folders that are there after a stream that found them `old` seconds old."""
    for path in temporary.iterdir():
        os.utime(path, (time.time() - old,) * 2)
    read_ahead.remove_abandoned.cache_clear()
    batches = Stream(Numbers(9), noisy, seed=0, batch_size=4).train_batches(0)
    next(batches)
    batches.close()
    return {path.name for path in temporary.iterdir()}


def test_the_folder_of_a_killed_stream_is_removed_by_the_next_one(temporary):
    """Not that of one that reads, of one that has just begun, or of an earlier version."""
    reading = subprocess.Popen(
        [sys.executable, "-c", READS], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        assert reading.stdout.readline() == "reading\n"
        (temporary / "bodyjax-stream-earlier").mkdir()
        both = {path.name for path in temporary.iterdir()}
        assert len(both) == 2
        assert left_by_another_stream(temporary, old=1000) == both
    finally:
        reading.kill()
        reading.communicate()
    assert left_by_another_stream(temporary, old=60) == both
    assert left_by_another_stream(temporary, old=1000) == {"bodyjax-stream-earlier"}


@pytest.mark.slow
def test_reading_processes_end_with_a_training_that_is_killed():
    program = """
import time

from bodyjax.data.stream import Stream
from tests.data.test_stream import Numbers, noisy

if __name__ == "__main__":
    batches = Stream(Numbers(9), noisy, seed=0, batch_size=4, workers=2).train_batches(0)
    next(batches)
    print("reading", flush=True)
    time.sleep(600)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout.readline() == "reading\n"
        readers = psutil.Process(training.pid).children(recursive=True)
        assert len(readers) >= 2
        training.kill()
    gone, alive = psutil.wait_procs(readers, timeout=20)
    assert (len(gone), alive) == (len(readers), [])
