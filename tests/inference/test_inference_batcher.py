"""Requests that meet run as one, and none of them pays for another."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from guesthouse.inference.batcher import Batcher
from guesthouse.inference.model import OnnxModel
from guesthouse.inference.session import OnnxSession
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Cancelled, DeadlineExceeded, InferenceError
from inference import tiny_models
from support.waiting import until

NEVER = 3600.0  # seconds of `delay` that no test could wait


def soon() -> Deadline:
    return Deadline.after(20)


def column(*values: int) -> np.ndarray:
    return np.array(values).reshape(-1, 1)


@pytest.fixture
def rows_run(monkeypatch) -> list[int]:
    """The rows of each run that is begun from now on."""
    rows: list[int] = []
    run = OnnxSession.run

    def noted(self: OnnxSession, inputs, *args, **kwargs):
        rows.append(max(len(tensor) for tensor in inputs.values()))
        return run(self, inputs, *args, **kwargs)

    monkeypatch.setattr(OnnxSession, "run", noted)
    return rows


class Busy:
    """A model with its worker (or one of them) kept busy, so that requests gather behind it."""

    def __init__(self, model: OnnxModel, inputs: dict[str, np.ndarray], threads: ThreadPoolExecutor) -> None:
        assert model._batcher is not None
        self.model = model
        self.batcher: Batcher = model._batcher
        self.threads = threads
        self.deadline = soon()
        self.first = threads.submit(model.run, inputs, ["y"], self.deadline)
        until(lambda: self.batcher._running == 1)

    def ask(self, x: np.ndarray, deadline: Deadline | None = None) -> Future[list[np.ndarray]]:
        """Ask for y of `x`; returns when the request is waiting."""
        before = len(self.batcher._waiting)
        answer = self.threads.submit(self.model.run, {"x": x}, ["y"], deadline or soon())
        until(lambda: len(self.batcher._waiting) > before)
        return answer

    def free(self) -> None:
        self.deadline.cancel()
        with pytest.raises(Cancelled):
            self.first.result()


@contextlib.contextmanager
def company(model: OnnxModel) -> Iterator[None]:
    """As if another batch of `model` were under way: those who ask now wait for each other."""
    batcher = model._batcher
    assert batcher is not None
    with batcher._changed:
        batcher._running += 1
    yield
    with batcher._changed:
        batcher._running -= 1


@pytest.fixture
def busy(load, monkeypatch, rows_run):
    """Makes a model (`counting` unless said otherwise) whose only worker is busy until it is freed."""
    monkeypatch.setattr("guesthouse.inference.model.cores", lambda: 1)
    with ThreadPoolExecutor(16) as threads:
        made: list[Busy] = []

        def make(batch=(8, 0.0), cores=1, **config) -> Busy:
            monkeypatch.setattr("guesthouse.inference.model.cores", lambda: cores)
            model = load(tiny_models.counting(), batch=batch, threads=1, **config)
            made.append(Busy(model, {"x": column(tiny_models.ENDLESS)}, threads))
            rows_run.clear()
            return made[-1]

        yield make
        for one in made:
            one.deadline.cancel()


def test_runs_those_that_meet_as_one(busy, rows_run):
    model = busy()
    answers = [model.ask(column(number)) for number in range(5)]
    model.free()
    assert [answer.result()[0].tolist() for answer in answers] == [[[number]] for number in range(5)]
    assert rows_run == [5]


def test_gives_each_member_its_own_rows(busy, rows_run):
    model = busy()
    asked = [column(1), column(2, 3), column(4, 5, 6)]
    answers = [model.ask(x) for x in asked]
    model.free()
    results = [answer.result()[0] for answer in answers]
    assert [result.tolist() for result in results] == [x.tolist() for x in asked]
    assert rows_run == [6]
    assert all(result.base is None for result in results)  # no part of what the others got


def test_never_runs_more_rows_than_the_batch_size_at_once(busy, rows_run):
    model = busy()
    answers = [model.ask(column(*range(3))) for _ in range(5)]
    model.free()
    assert all(answer.result()[0].tolist() == [[0], [1], [2]] for answer in answers)
    assert rows_run == [6, 6, 3]


def test_runs_a_member_with_more_rows_than_the_batch_size_by_itself(busy, rows_run):
    model = busy(batch=(2, 0.0))
    answers = [model.ask(column(*range(5))), model.ask(column(7))]
    model.free()
    assert [len(answer.result()[0]) for answer in answers] == [5, 1]
    assert rows_run == [5, 1]


def test_one_bad_request_fails_alone(load, monkeypatch, rows_run):
    monkeypatch.setattr("guesthouse.inference.model.cores", lambda: 1)
    model = load(tiny_models.table(), batch=(4, NEVER), threads=1)
    rows_run.clear()
    with ThreadPoolExecutor(4) as threads, company(model):
        answers = [threads.submit(model.run, {"x": np.array([x])}, ["y"], soon()) for x in (1, 9, 2, 3)]
        errors = [answer.exception() for answer in answers]
    assert [error is None for error in errors] == [True, False, True, True]
    assert "idx=9 must be within" in str(errors[1])
    assert isinstance(errors[1], InferenceError)
    assert [answers[number].result()[0].tolist() for number in (0, 2, 3)] == [[10], [20], [30]]
    assert rows_run == [4, 1, 1, 1, 1]


def test_a_member_leaves_at_its_own_deadline_and_the_others_stay(busy, rows_run):
    model = busy()
    leaves = model.ask(column(1), Deadline.after(0.05))
    stays = model.ask(column(500_000))  # half a second
    model.free()
    with pytest.raises(DeadlineExceeded, match="the time limit was reached"):
        leaves.result()
    assert stays.result()[0].tolist() == [[500_000]]
    assert rows_run == [2]


def test_a_run_is_ended_when_the_last_member_has_left(busy, rows_run):
    model = busy()
    answers = [model.ask(column(tiny_models.ENDLESS), Deadline.after(wait)) for wait in (0.15, 0.2)]
    model.free()
    for answer in answers:
        with pytest.raises(DeadlineExceeded, match="the time limit was reached"):
            answer.result()
    assert model.model.run({"x": column(5)}, ["y"], soon())[0].tolist() == [[5]]
    assert rows_run == [2, 1]


@pytest.mark.parametrize("how", ["deadline", "cancelled"])
def test_a_member_leaves_while_it_waits(busy, rows_run, how):
    model = busy()
    deadline = Deadline.after(0.05 if how == "deadline" else 20)
    leaves, stays = model.ask(column(1), deadline), model.ask(column(2))
    if how == "cancelled":
        deadline.cancel()
    with pytest.raises(DeadlineExceeded if how == "deadline" else Cancelled):
        leaves.result()
    assert len(model.batcher._waiting) == 1
    assert not deadline._callbacks
    model.free()
    assert stays.result()[0].tolist() == [[2]]
    assert rows_run == [1]


def test_what_does_not_fit_the_model_never_waits(busy):
    model = busy()
    with pytest.raises(InferenceError, match=r"but int64 \[1, 2\] came"):
        model.model.run({"x": np.array([[1, 2]])}, ["y"], soon())
    assert not model.batcher._waiting


def test_runs_only_those_of_the_same_shape_together(load, rows_run, monkeypatch):
    monkeypatch.setattr("guesthouse.inference.model.cores", lambda: 1)
    model = load(tiny_models.doubling(width="W"), batch=(8, 0.2), threads=1)
    rows_run.clear()
    asked = [np.full((1, width), width, np.float32) for width in (3, 4, 3, 4)]
    with ThreadPoolExecutor(4) as threads, company(model):
        answers = [threads.submit(model.run, {"x": x}, ["y"], soon()) for x in asked]
        results = [answer.result()[0] for answer in answers]
    assert [result.tolist() for result in results] == [(x + x).tolist() for x in asked]
    assert rows_run == [2, 2]


def test_who_meets_nobody_waits_for_nobody(load):
    model = load(tiny_models.doubling(), batch=(8, NEVER))
    assert model.run({"x": np.ones((1, 4), np.float32)}, ["y"], soon())[0].tolist() == [[2, 2, 2, 2]]


def test_waits_for_others_no_longer_than_the_delay(busy, rows_run):
    model = busy(batch=(8, 0.05), cores=2)  # a second worker is free
    started = time.monotonic()
    assert model.ask(column(1)).result()[0].tolist() == [[1]]
    assert time.monotonic() - started >= 0.05
    assert rows_run == [1]


def test_a_full_batch_does_not_wait_for_the_delay(busy, rows_run):
    model = busy(batch=(2, NEVER), cores=2)
    answers = [model.threads.submit(model.model.run, {"x": column(x)}, ["y"], soon()) for x in (1, 2)]
    assert [answer.result()[0].tolist() for answer in answers] == [[[1]], [[2]]]
    assert rows_run == [2]


def test_what_a_full_batch_leaves_behind_is_taken_by_another_worker(busy, rows_run):
    model = busy(batch=(8, NEVER), cores=3)
    deadline = soon()
    alone = model.threads.submit(model.model.run, {"x": column(tiny_models.ENDLESS)}, ["y"], deadline)
    until(lambda: len(model.batcher._waiting) == 1)
    full = model.threads.submit(model.model.run, {"x": column(*range(8))}, ["y"], soon())
    assert len(full.result()[0]) == 8
    assert not alone.done()
    deadline.cancel()
    assert isinstance(alone.exception(), Cancelled)


def test_repeats_one_by_one_where_the_rows_of_a_result_are_not_those_of_its_inputs():
    def run(inputs, outputs, deadline) -> list[np.ndarray]:
        return [inputs["x"].sum(axis=0, keepdims=True)]

    batcher = Batcher(run, 2, NEVER)
    batcher._running = 1  # so that both wait for each other
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(batcher.run, {"x": column(x)}, ["y"], soon()) for x in (1, 2)]
        assert [answer.result()[0].tolist() for answer in answers] == [[[1]], [[2]]]
    batcher.close()


def test_closing_ends_those_who_wait_and_lets_a_run_finish(busy):
    model = busy()
    waiting = model.ask(column(1))
    closing = model.threads.submit(model.model.close)
    with pytest.raises(InferenceError, match="the model is closed: the host is shutting down, or has loaded"):
        waiting.result()
    assert not closing.done()
    model.free()
    closing.result()
    with pytest.raises(InferenceError, match="the model is closed"):
        model.model.run({"x": column(1)}, ["y"], soon())


def test_many_threads_get_what_is_theirs(load):
    model = load(tiny_models.doubling(), batch=(8, 0.001))

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            x = np.full((chance.randint(1, 5), 4), chance.random(), np.float32)
            (y,) = model.run({"x": x}, ["y"], soon())
            assert np.array_equal(y, x + x)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))


def test_a_photo_gives_the_same_in_company(load, models, photos, rows_run):
    def photo(name: str) -> np.ndarray:
        with Image.open(photos / name) as picture:
            return np.asarray(picture.convert("RGB").resize((224, 224)))[None]

    pictures = [photo(name) for name in ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png")]
    model = load(models / "efficientnet-lite0.onnx", batch=(4, NEVER))
    alone = [model.run({"input": picture}, ["probabilities"], soon())[0] for picture in pictures]
    rows_run.clear()
    with ThreadPoolExecutor(4) as threads, company(model):
        answers = [threads.submit(model.run, {"input": picture}, ["probabilities"], soon()) for picture in pictures]
        for answer, expected in zip(answers, alone, strict=True):
            assert answer.result()[0] == pytest.approx(expected, abs=1e-4)
    assert rows_run == [4]
