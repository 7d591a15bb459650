"""Whether the rows of a batch stay apart, found by running the model: a row's result must not depend on other rows.

Rows are drawn at random, of several kinds and scales; they are the same at each load. From two batches new ones are
mixed, which have each row from one of the two, at the same index. A row must give the same bytes as before, for only
the rows beside it have changed. What the graph tells without a run is in `rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from guesthouse_abi.errors import InferenceError
from guesthouse_abi.services import Tensor, TensorInfo

Tensors = dict[str, Tensor]
_SEED = 20
_LENGTHS = (1, 3)  # sizes that are tried for all free dimensions but the first
_SMALL = 3  # rows of the largest batch whose rows are put beside each other in every way
_TOLERANCE = 0.01  # between a row alone and in a batch, where ONNX Runtime may use kernels that round otherwise


class Dependent(Exception):
    """The rows of the model are not independent, or this cannot be found out. The text says what was seen."""


@dataclass(frozen=True)
class RowKind:
    """How rows are drawn, for inputs of floating-point numbers and of whole numbers."""

    real: str
    whole: str


#: From rows that every model takes to rows that few models take. A kind that a model does not run on is skipped.
_KINDS = (
    RowKind("zeros and ones", "zeros and ones"),
    RowKind("near zero", "zeros and ones"),
    RowKind("near zero", "small"),
    RowKind("all scales", "zeros and ones"),
    RowKind("all scales", "small"),
    RowKind("all scales", "wide"),
)
_SAMPLES = RowKind("samples", "samples")


def try_rows(
    infos: Mapping[str, TensorInfo],
    outputs: Sequence[str],
    run: Callable[[Tensors], list[Tensor]],
    most: int,
    samples: Mapping[str, Tensor],
) -> None:
    """Run a model on batches of up to `most` rows, and compare. Raises `Dependent`.

    `infos` are its inputs, whose first dimension is free; `run` gives its `outputs` for them, or raises
    `InferenceError`. Rows of `samples` (of those inputs, or empty) are tried too.
    """
    trial = _Trial(infos, outputs, run, samples)
    failed: InferenceError | None = None
    ran: list[tuple[RowKind, int]] = []
    for kind in _kinds(infos, samples):
        for length in _LENGTHS if any(None in (info.shape or ())[1:] for info in infos.values()) else _LENGTHS[:1]:
            try:
                trial.small(kind, length, min(_SMALL, most))
                ran.append((kind, length))
            except InferenceError as error:  # noqa: PERF203
                failed = failed or error
    if not ran:
        raise Dependent(f"tried on two rows: {failed}")
    if most > _SMALL:
        for kind, length in reversed(ran):
            try:
                trial.large(kind, length, most)
                return
            except InferenceError as error:  # noqa: PERF203
                failed = error
        raise Dependent(f"tried on {most} rows: {failed}")


def _kinds(infos: Mapping[str, TensorInfo], samples: Mapping[str, Tensor]) -> Iterator[RowKind]:
    """The kinds of rows to try: for some inputs, two kinds give the same rows."""
    if min((len(tensor) for name, tensor in samples.items() if name in infos), default=0) > 1:
        yield _SAMPLES
    real = any(info.dtype is not None and info.dtype.kind == "f" for info in infos.values())
    whole = any(info.dtype is not None and info.dtype.kind in "iu" for info in infos.values())
    seen = set()
    for kind in _KINDS:
        key = (kind.real if real else "", kind.whole if whole else "")
        if key not in seen:
            seen.add(key)
            yield kind


@dataclass(frozen=True)
class _Ran:
    """A batch, and the model's results for it."""

    batch: Tensors
    results: list[Tensor]


class _Trial:
    """The trial runs of one model."""

    def __init__(
        self,
        infos: Mapping[str, TensorInfo],
        outputs: Sequence[str],
        run: Callable[[Tensors], list[Tensor]],
        samples: Mapping[str, Tensor],
    ) -> None:
        self._samples = samples
        self._infos = infos
        self._outputs = outputs
        self._run = run
        self._random = np.random.default_rng(_SEED)

    def small(self, kind: RowKind, length: int, most: int) -> None:
        """Try batches of 2 to `most` rows: each row beside rows of both batches, and each row alone."""
        for rows in range(2, most + 1):
            one, other = self._pair(kind, length, rows)
            self._mixed(one, other, [np.arange(rows) >> bit & 1 == 1 for bit in range((rows - 1).bit_length())])
            self._alone(one.batch, one.results)

    def large(self, kind: RowKind, length: int, rows: int) -> None:
        """Try one large batch, with every other row, half of the rows, and random rows taken from the second batch."""
        indices = np.arange(rows)
        chosen = self._random.permutation(rows) < rows // 2
        one, other = self._pair(kind, length, rows)
        self._mixed(one, other, [indices % 2 == 1, indices < rows // 2, chosen])

    def _pair(self, kind: RowKind, length: int, rows: int) -> tuple[_Ran, _Ran]:
        """Two batches with their results. Raises `InferenceError` where the model does not run on such rows."""
        pair: list[_Ran] = []
        for other in (0, 1):
            batch = self._chosen(rows) if kind == _SAMPLES else self._batch(kind, length, rows, other)
            pair.append(_Ran(batch, self._results(batch, rows)))
        again = self._results(pair[0].batch, rows)
        for name, first, second in zip(self._outputs, pair[0].results, again, strict=True):
            if not all(_same(first, second)):
                raise Dependent(
                    f"its output {name!r} is another one each time for the same input (it draws random numbers?), so "
                    "that it cannot be told whether a row depends on the other rows of a batch"
                )
        return pair[0], pair[1]

    def _mixed(self, one: _Ran, other: _Ran, choices: Sequence[Tensor]) -> None:
        """Mix the rows of both batches, with the rows of `other` where a choice is true: no row's result may change."""
        for chosen in choices:
            batch = {}
            for name, tensor in one.batch.items():
                batch[name] = tensor.copy()
                batch[name][chosen] = other.batch[name][chosen]
            try:
                results = self._results(batch, len(chosen))
            except InferenceError as error:
                raise Dependent(f"tried on {len(chosen)} rows that run in other batches: {error}") from None
            for name, found, first, second in zip(self._outputs, results, one.results, other.results, strict=True):
                if found.shape != first.shape or found.shape != second.shape:
                    raise _depends(name)
                expected = first.copy()
                expected[chosen] = second[chosen]
                if not all(_same(found, expected)):
                    raise _depends(name)

    def _alone(self, batch: Tensors, together: list[Tensor]) -> None:
        """Most rows must give alone what they give in a batch. (Where the index matters, nearly all differ.)"""
        rows = len(together[0])
        alone = [
            self._results({name: tensor[row : row + 1] for name, tensor in batch.items()}, 1) for row in range(rows)
        ]
        for index, name in enumerate(self._outputs):
            apart = [one[index][0] for one in alone]
            if any(one.shape != together[index].shape[1:] for one in apart):
                raise _depends(name)
            if sum(not _close(one, row) for one, row in zip(apart, together[index], strict=True)) * 2 > rows:
                raise _depends(name)

    def _results(self, batch: Tensors, rows: int) -> list[Tensor]:
        results = self._run(batch)
        for name, result in zip(self._outputs, results, strict=True):
            if result.ndim == 0 or len(result) != rows:
                came = f"{len(result)} rows" if result.ndim else "no rows"
                raise Dependent(f"its output {name!r} has {came} for {rows} rows of its inputs")
        return results

    def _chosen(self, rows: int) -> Tensors:
        """A batch of rows drawn from the samples; optional inputs are left out."""
        given = {name: tensor for name, tensor in self._samples.items() if name in self._infos}
        which = self._random.integers(0, min(map(len, given.values())), rows)
        return {name: tensor[which] for name, tensor in given.items()}

    def _batch(self, kind: RowKind, length: int, rows: int, other: int) -> Tensors:
        return {name: self._drawn(info, kind, length, rows, other) for name, info in self._infos.items()}

    def _drawn(self, info: TensorInfo, kind: RowKind, length: int, rows: int, other: int) -> Tensor:
        assert info.shape is not None  # a model with `batch` has a shape and a type for every input
        assert info.dtype is not None
        shape = (rows, *(length if size is None else size for size in info.shape[1:]))
        row = (rows, *[1] * (len(shape) - 1))
        which = kind.real if info.dtype.kind == "f" else kind.whole
        if which == "zeros and ones":
            return np.broadcast_to((np.arange(rows) + other).reshape(row) % 2, shape).astype(info.dtype)
        if info.dtype.kind == "b":
            return self._random.integers(0, 2, shape).astype(np.bool_)
        if info.dtype.kind == "f":
            drawn = self._random.standard_normal(shape, np.float32)
            if which == "all scales":
                drawn *= (10 ** self._random.uniform(-3, 3, row)).astype(np.float32)
            return drawn.astype(info.dtype)
        highest = 9 if which == "small" else 255 if info.dtype == np.uint8 else 100
        lowest = -100 if which == "wide" and info.dtype.kind == "i" else 0
        return self._random.integers(lowest, highest, shape, info.dtype.type, endpoint=True)


def _depends(name: str) -> Dependent:
    return Dependent(f"a row of its output {name!r} depends on the other rows of a batch, which may be another guest's")


def _same(found: Tensor, expected: Tensor) -> list[bool]:
    """For each row, whether it is the same to the last bit."""
    nan = found.dtype.kind == "f"
    return [np.array_equal(*pair, equal_nan=nan) for pair in zip(found, expected, strict=True)]


def _close(alone: Tensor, together: Tensor) -> bool:
    if alone.dtype.kind != "f":
        return np.array_equal(alone, together)
    with np.errstate(all="ignore"):
        tolerance = _TOLERANCE * float(np.max(np.abs(alone), initial=0.1, where=np.isfinite(alone)))
        return np.allclose(together, alone, rtol=_TOLERANCE, atol=tolerance, equal_nan=True)
