"""Read images in several processes, in batches that backends then read too, in the order of the images.

The readers are this package's and not a framework's: all backends compute from the same array, decoded once, whose
pixels are those of the original libraries. As in PyTorch's ``DataLoader``, each process prepares whole batches, two
ahead of their use.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple, Self

from resnet_spec.errors import BackendError
from resnet_spec.parity.process import WorkerProcess
from resnet_spec.spec.published import Preprocessing

AHEAD = 2
"""The batches that a process prepares before the first is used."""


class Batch(NamedTuple):
    """A batch of images.

    Attributes:
        first: The place of its first image.
        images: How many images it is of.
        path: The file of an array (images, 3, height, width) of those that could be read, if there are any.
        read: Their places.
        problems: Why others could not be read, by their places.
        turned: The places of those whose EXIF orientation is ignored.
    """

    first: int
    images: int
    path: Path
    read: list[int]
    problems: dict[int, str]
    turned: list[int]


class _Reader(WorkerProcess):
    def __init__(self) -> None:
        super().__init__("an image reader", "resnet_spec.evaluating.worker")
        # The process says that it has started.
        self._pending = 1

    def ask(self, images: Sequence[str], preprocessing: dict[str, Any], size: Sequence[int], path: Path) -> None:
        self._ask("read", images=[*images], preprocessing=preprocessing, size=size, path=str(path))

    def next(self) -> dict[str, Any]:
        """Wait for the answer to the oldest request."""
        self._pending -= 1
        return self._answer()


class Readers:
    """Processes that read images, which end with the ``with`` block.

    Args:
        preprocessing: From an image to the network's input.
        size: Its height and width.
        workers: How many processes read.
        batch: How many images they read at a time.
        folder: Where batches are written; each file is deleted when the next batch is asked for.
    """

    def __init__(
        self, preprocessing: Preprocessing, size: tuple[int, int], workers: int, batch: int, folder: Path
    ) -> None:
        self._preprocessing = preprocessing.model_dump()
        self._size = size
        self._readers = [_Reader() for _ in range(workers)]
        self._batch = batch
        self._folder = folder

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for reader in self._readers:
                stack.enter_context(reader)
            for reader in self._readers:
                reader.next()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def batches(self, paths: Sequence[str], first: int = 0) -> Iterator[Batch]:
        """Yield the images from a place on, in their order.

        Raises:
            BackendError: A process was killed; the message names the images that it read.
        """
        starts = iter(range(first, len(paths), self._batch))
        asked: deque[tuple[_Reader, int, Path]] = deque()
        readers = cycle(self._readers)

        def ask() -> None:
            start = next(starts, None)
            if start is not None:
                reader = next(readers)
                asked.append((reader, start, self._folder / f"{start}.npy"))
                reader.ask(paths[start : start + self._batch], self._preprocessing, self._size, asked[-1][2])

        for _ in range(AHEAD * len(self._readers)):
            ask()
        while asked:
            reader, start, path = asked.popleft()
            images = paths[start : start + self._batch]
            try:
                found = reader.next()
            except BackendError as error:
                raise BackendError(f"{error} (it read the images from {images[0]} to {images[-1]})") from None
            ask()
            problems = {start + place: why for place, why in found["problems"]}
            read, turned = ([start + place for place in found[name]] for name in ("read", "turned"))
            yield Batch(start, len(images), path, read, problems, turned)
            path.unlink(missing_ok=True)
