"""Batches as a pure function of (fingerprint, seed, global batch size, step).

Each epoch is a seeded shuffle; grain interleaves the sources of a mixture and runs the worker
processes. Example i of epoch e has its own random numbers (NumPy's Philox, seeded by (seed, e, i)),
no matter who reads it. So the state of a stream is one integer, the number of global batches
served; the number of threads, workers and hosts changes only the speed. Only this file imports
grain.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bodyjax.contract import Source
from bodyjax.data.read_ahead import (
    WATCHED,
    Crew,
    Watch,
    claimed,
    end_with_parent,
    from_threads,
    in_background,
    remove_abandoned,
    stack,
)
from bodyjax.errors import ConfigError, DataError

Example = dict[str, np.ndarray]
Transform = Callable[[Example, np.random.Generator], Example]

ENDLESS = 2**48
"""Positions of a training stream; at a million examples a second it lasts nine years."""


class Mixture:
    """Several sources in fixed shares: each batch position belongs to one of them, by weight.

    The order is grain's interleave, so shares hold on any stretch of the stream; each source runs
    through its own shuffled epochs, without repeating an example before all were served. As a
    source it is the sources one after the other. Examples must have the same names and shapes after
    the stream's transform.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        if len(sources) != len(weights) or not sources or min(weights) <= 0:
            raise ConfigError(f"{len(sources)} sources with weights {list(weights)}")
        self.sources, self.weights = tuple(sources), tuple(float(w) for w in weights)
        self.starts = np.cumsum([0, *(len(source) for source in sources)])
        words = [source.fingerprint for source in sources]
        self.fingerprint = _digest("mixture", words, self.weights)
        self.labels = _joined([source.labels for source in sources])
        self.groups = _joined([source.groups for source in sources])
        self.heldout = np.concatenate([source.heldout for source in sources])
        self.names = tuple(name for source in sources for name in source.names)
        first = sources[0].classes
        self.classes = first if all(source.classes == first for source in sources) else ()
        self.bad = tuple(line for source in sources for line in source.bad)
        self.left_out: dict[str, int] = sum((Counter(s.left_out) for s in sources), Counter())

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _place(self, index: int) -> tuple[Source, int]:
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.sources[which], index - int(self.starts[which])

    def __getitem__(self, index: int) -> Example:
        source, row = self._place(index)
        return source[row]

    def name(self, index: int) -> str:
        """What errors call an example."""
        source, row = self._place(index)
        return source.name(row)


class Stream:
    """A `Feed` (bodyjax.contract) over a training and an evaluation source.

    transform(example, rng) -> arrays of fixed shape; `eval_transform` is the same for evaluation
    (default: `transform`). `batch_size` is global: each of `host_count` hosts gets a contiguous
    share of every batch. workers=0 reads ahead in threads of this process (video, picture and array
    reading release the interpreter), workers>0 in that many processes, for which source and
    transforms must be picklable. An example that takes more than `timeout_s` seconds ends the
    stream with a DataError that names it; an example that fails is named too. Raises ConfigError
    for a batch size that hosts can't share, and DataError for an empty source or a training source
    with held-out rows.
    """

    def __init__(
        self,
        source: Source,
        transform: Transform,
        *,
        seed: int,
        batch_size: int,
        eval_source: Source | None = None,
        eval_transform: Transform | None = None,
        workers: int = 0,
        host_index: int = 0,
        host_count: int = 1,
        timeout_s: float = 120.0,
    ) -> None:
        if batch_size < 1 or batch_size % host_count or not 0 <= host_index < host_count:
            raise ConfigError(
                f"host {host_index} of {host_count} can't have its share of a batch of {batch_size}"
            )
        for place, number in (("seed", seed), ("data.workers", workers)):
            if number < 0:
                raise ConfigError(f"{number} should be a whole number from 0 on", place=place)
        if len(source) == 0:
            raise DataError("the training source is empty")
        if source.heldout.any():
            raise DataError(
                f"{int(source.heldout.sum())} held-out examples in a training source",
                hint='open it with part="train"',
            )
        self.source, self.transform = source, transform
        self.eval_source, self.eval_transform = eval_source, eval_transform or transform
        self.seed, self.batch_size, self.workers = seed, batch_size, workers
        self.host_index, self.host_count, self.timeout_s = host_index, host_count, timeout_s
        self.fingerprint = _digest("stream", source.fingerprint, describe(transform))

    @property
    def _share(self) -> int:
        return self.batch_size // self.host_count

    def train_batches(self, start: int) -> Iterator[Example]:
        """Without end, from global batch number `start` on; this host's share of each.

        Skipping to `start` reads nothing.
        """
        reader = _Reader(self.source, self.transform, self.seed, train=True)
        return self._serve(reader, start, ENDLESS)

    def eval_batches(self) -> Iterator[Example]:
        """Every example of the evaluation source once, in its order.

        `mask` (B,) bool is False where the last batch was filled up.
        """
        if self.eval_source is None or len(self.eval_source) == 0:
            return iter(())
        reader = _Reader(self.eval_source, self.eval_transform, self.seed, train=False)
        return self._serve(reader, 0, -(-len(self.eval_source) // self.batch_size))

    def _serve(self, reader: _Reader, start: int, stop: int) -> Iterator[Example]:
        batch = (self.batch_size, self._share, self.host_index)
        return _served(reader, batch, (start, stop), self.workers, self.timeout_s)


def whole(
    source: Source, transform: Transform, batch_size: int, timeout_s: float = 120.0
) -> Iterator[Example]:
    """Every example of a source once, in the same form as Stream.eval_batches."""
    reader = _Reader(source, transform, 0, train=False)
    batches = -(-len(source) // batch_size)
    return _served(reader, (batch_size, batch_size, 0), (0, batches), 0, timeout_s)


def _served(
    reader: _Reader,
    batch: tuple[int, int, int],
    span: tuple[int, int],
    workers: int,
    timeout_s: float,
) -> Iterator[Example]:
    """The batches of a span, read ahead; batch: its size, a host's share of it, and which host."""
    remove_abandoned()
    folder = tempfile.TemporaryDirectory(prefix=WATCHED)
    watch = Watch(folder.name)
    held = claimed(folder.name)
    read = functools.partial(_read, reader, watch, batch)
    crew = Crew()
    share = batch[1]
    first, last = (number * share for number in span)
    try:
        if workers:
            batches = _from_workers(read, first, last, share, workers)
        else:
            batches = from_threads(read, first, last, share, crew)
        yield from in_background(batches, crew, watch, reader.source, timeout_s)
    finally:
        crew.stop()
        folder.cleanup()
        held.close()


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Examples by position in the stream of all hosts."""

    source: Source
    transform: Transform
    seed: int
    train: bool

    @functools.cached_property
    def _interleave(self) -> Any:
        """grain's data set of (source of the mixture, position in its stream), without end."""
        import grain

        def positions(number: int, length: int) -> Any:
            place = functools.partial(_position_of, number)
            return grain.MapDataset.range(length).repeat().map_with_index(place)

        assert isinstance(self.source, Mixture)
        parts = [positions(k, len(part)) for k, part in enumerate(self.source.sources)]
        return grain.MapDataset.mix(parts, self.source.weights)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def place(self, position: int) -> tuple[int, int, np.random.Generator]:
        """Epoch, index in the source, and the random numbers of a position."""
        if not self.train:
            words = np.random.SeedSequence((self.seed, position), spawn_key=(1,))
            return 0, position, np.random.Generator(np.random.Philox(words))
        number, first, length = 0, 0, len(self.source)
        if isinstance(self.source, Mixture):
            number, position = self._interleave[position]
            first, length = int(self.source.starts[number]), len(self.source.sources[number])
        epoch, place = divmod(position, length)
        index = first + int(_shuffled(self.seed, number, epoch, length)[place])
        words = np.random.SeedSequence((self.seed, epoch, index))
        return epoch, index, np.random.Generator(np.random.Philox(words))


def _position_of(number: int, position: int, row: int) -> tuple[int, int]:
    return number, position


@functools.lru_cache(maxsize=16)
def _shuffled(seed: int, number: int, epoch: int, length: int) -> np.ndarray:
    """The order of one epoch of a source. (grain's own shuffle takes 0.25 ms for each index of a
    set of 180, longer than a step of a small model.)"""
    words = np.random.SeedSequence((seed, number, epoch), spawn_key=(2,))
    return np.random.Generator(np.random.Philox(words)).permutation(length)


def _read(reader: _Reader, watch: Watch, batch: tuple[int, int, int], position: int) -> Example:
    """The example at a position of this host's stream, transformed; `mask` beside it where the
    stream ends, as its last batch may be filled up."""
    size, share, host = batch
    step, row = divmod(position, share)
    everywhere = step * size + host * share + row
    padding = not reader.train and everywhere >= len(reader.source)
    _, index, rng = reader.place(len(reader.source) - 1 if padding else everywhere)
    watch.begin(index)
    try:
        example = reader.transform(reader.source[index], rng)
    except Exception as error:
        name = reader.source.name(index)
        what = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        message = what if name in what else f"{name}: {what}"
        raise DataError(f"example {index} can't be read: {message}") from error
    finally:
        watch.end()
    if not reader.train:
        if "mask" in example:
            raise DataError("a transform gives `mask`, which is the stream's own name for padding")
        example = {**example, "mask": np.asarray(not padding)}
    return example


def _from_workers(
    read: Callable[[int], Example], first: int, last: int, share: int, workers: int
) -> Iterator[Example]:
    """Batches read by grain's processes, which are spawned."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read flags, also without absl's app.run
    atexit.unregister(_finish_freeing)
    atexit.register(_finish_freeing)
    positions = grain.MapDataset.range(first, last).map(read).batch(share, batch_fn=stack)
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
    return iter(positions.to_iter_dataset(ahead).mp_prefetch(options, worker_init_fn=_start))


def _finish_freeing() -> None:
    """Waits for grain's thread that frees shared memory; what it has not freed when the process
    ends, Python reports as leaked. Later arrays are freed where they are dropped."""
    import grain

    arrays = grain.multiprocessing.SharedMemoryArray
    pool = getattr(arrays, "_del_thread_pool", None)
    if pool is not None:
        arrays._del_thread_pool = None
        pool.close()
        pool.join()


def _start(index: int, count: int) -> None:
    """What a reading process does first."""
    del index, count
    end_with_parent()


def describe(function: Any) -> str:
    """A function and its settings in words, for fingerprints: partials and dataclasses in full."""
    if isinstance(function, functools.partial):
        settings = [describe(value) for value in function.args]
        settings += [f"{name}={describe(function.keywords[name])}" for name in function.keywords]
        return f"{describe(function.func)}({', '.join(settings)})"
    if callable(function) and hasattr(function, "__qualname__"):
        return f"{function.__module__}.{function.__qualname__}"
    if dataclasses.is_dataclass(function):
        fields = [
            f"{field.name}={describe(getattr(function, field.name))}"
            for field in dataclasses.fields(function)
        ]
        return f"{type(function).__qualname__}({', '.join(fields)})"
    if isinstance(function, np.ndarray):
        return hashlib.sha256(function.tobytes()).hexdigest()
    return type(function).__qualname__ if callable(function) else repr(function)


def _digest(*words: Any) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
