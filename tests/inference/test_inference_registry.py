"""Many models: found by name and by digest, all their faults at once, and those that guests bring."""

from __future__ import annotations

import hashlib
import resource
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from guesthouse.inference import registry as registry_module
from guesthouse.inference.model import ModelConfig
from guesthouse.inference.modelfile import external_locations
from guesthouse.inference.registry import ModelFaults, Registry
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Cancelled, DeadlineExceeded, InferenceError
from guesthouse_abi.services import Inference
from inference import tiny_models

TFLITE = "459a5c728732a1022fbe625f66cad5f626a67b1e4a17fad819cd23cdf78cb3a1"


def soon() -> Deadline:
    return Deadline.after(20)


def faults(*configs: ModelConfig) -> tuple[str, ...]:
    with pytest.raises(ModelFaults) as raised:
        Registry.open(configs)
    assert str(raised.value) == "\n".join(raised.value.faults)
    return raised.value.faults


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny_models.save(tmp_path, tiny_models.doubling())


@pytest.fixture
def guests() -> Iterator[Registry]:
    """A registry that has only what guests bring."""
    made = Registry.open([])
    yield made
    made.close()


def test_finds_models_by_name_and_by_digest(models):
    config = ModelConfig(name="person", path=models / "visual_wake_words.onnx", stands_for=(TFLITE.upper(),))
    registry: Inference = (opened := Registry.open([config]))
    person = registry.named("person")
    assert person is not None
    assert registry.named("nobody") is None
    assert registry.standing_for(TFLITE) is person
    assert registry.standing_for(hashlib.sha256(config.path.read_bytes()).hexdigest()) is person
    assert registry.standing_for("0" * 64) is None
    assert opened.models == (person,)
    opened.close()


def test_two_names_for_one_file_are_two_models_and_the_first_answers_for_it(path):
    registry = Registry.open([ModelConfig(name=name, path=path, threads=1) for name in ("a", "b")])
    first = registry.named("a")
    assert first is not None
    assert registry.named("b") is not first
    assert registry.standing_for(first.sha256) is first
    registry.close()


def test_lists_all_faults_of_all_models(path, tmp_path):
    assert faults(
        ModelConfig(name="a", path=tmp_path / "gone.onnx"),
        ModelConfig(name="b", path=path, inputs={"in": "q"}, outputs={"out": "r"}),
        ModelConfig(name="c", path=path),
        ModelConfig(name="d", path=path, stands_for=("beef",)),
    ) == (
        f"model 'a': {tmp_path}/gone.onnx: there is no such file; correct `path` (it is relative to the manifest)",
        f"model 'b': {path}: `inputs` renames 'in' to 'q', which it does not have: it has 'x'",
        f"model 'b': {path}: `outputs` renames 'out' to 'r', which it does not have: it has 'y'",
        "model 'd': `stands_for` has 'beef', which is no sha256 of 64 hexadecimal digits",
    )


def test_refuses_a_digest_that_two_models_stand_for(path):
    a, b = (ModelConfig(name=name, path=path, stands_for=(TFLITE,)) for name in "ab")
    assert faults(a, b) == (f"model 'b': `stands_for` has {TFLITE}, which is also claimed by model 'a': name it once",)


def test_refuses_a_digest_of_another_models_own_file(path, models):
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    thief = ModelConfig(name="b", path=models / "visual_wake_words.onnx", stands_for=(own.upper(),))
    text = f"model 'b': `stands_for` has {own}, which is the file of model 'a': take it out"
    assert faults(ModelConfig(name="a", path=path), thief) == (text,)
    assert faults(thief, ModelConfig(name="a", path=path)) == (text,)


def test_a_model_may_stand_for_its_own_file_which_chooses_it_among_several(path):
    own = hashlib.sha256(path.read_bytes()).hexdigest()
    registry = Registry.open([ModelConfig(name="a", path=path), ModelConfig(name="b", path=path, stands_for=(own,))])
    assert registry.standing_for(own) is registry.named("b")
    registry.close()


# Models that guests bring.


def test_runs_a_guests_own_model(guests):
    data = tiny_models.doubling().SerializeToString()
    model = guests.open_bytes(data, soon())
    assert model.name == "guest:" + hashlib.sha256(data).hexdigest()[:12]
    assert model.run({"x": np.ones((2, 4), np.float32)}, ["y"], soon())[0].sum() == 16
    with pytest.raises(InferenceError, match=r"up to 16777216 \(max_elements\)"):
        model.run({"x": np.zeros((2**22 + 1, 4), np.float32)}, ["y"], soon())


def test_knows_a_guests_model_again(guests):
    data = tiny_models.doubling().SerializeToString()
    assert guests.open_bytes(bytes(bytearray(data)), soon()) is guests.open_bytes(data, soon())


def test_keeps_the_guests_models_that_were_used_last(guests):
    data = [tiny_models.doubling(width=width).SerializeToString() for width in range(1, 6)]
    opened = [guests.open_bytes(one, soon()) for one in data[:4]]
    for _ in range(3):
        assert guests.open_bytes(data[0], soon()) is opened[0]
    guests.open_bytes(data[4], soon())  # the fifth: number 1 was used longest ago
    for number in (2, 3, 0):
        assert guests.open_bytes(data[number], soon()) is opened[number]
    assert guests.open_bytes(data[1], soon()) is not opened[1]
    # One that is no longer kept serves those who hold it.
    assert opened[1].run({"x": np.ones((1, 2), np.float32)}, ["y"], soon())[0].sum() == 4


def test_opens_a_model_once_when_many_ask_for_it(guests):
    data = tiny_models.doubling().SerializeToString()
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: guests.open_bytes(data, soon()), range(16)))
    assert len(set(map(id, opened))) == 1


def refusal(guests: Registry, data: bytes) -> str:
    with pytest.raises(InferenceError) as raised:
        guests.open_bytes(data, soon())
    return str(raised.value)


def test_refuses_a_guests_model_over_the_size_bound(guests):
    assert refusal(guests, bytes(64 * 2**20 + 1)) == (
        "the guest's model has 67108865 bytes; at most 67108864 are allowed"
    )


@pytest.mark.parametrize("data", [b"", b"TFL3", b"not a model" * 9])
def test_refuses_what_is_no_onnx_model(guests, data):
    assert refusal(guests, data).startswith("the guest's model does not load: ")


def test_refuses_damaged_models(guests):
    data = onnx.ModelProto(doc_string="location").SerializeToString() + b"\x3b"
    assert refusal(guests, data) == "the guest's model is not an ONNX model (its protobuf is damaged)"


@pytest.mark.parametrize("place", ["initializer", "attribute", "function", "branch", "sparse"])
@pytest.mark.parametrize("location", ["w.bin", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_a_guests_model_reads_no_file_and_no_memory_of_the_host(guests, tmp_path, monkeypatch, place, location):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    monkeypatch.chdir(tmp_path)
    assert refusal(guests, tiny_models.outside(location, place).SerializeToString()) == (
        f"the guest's model keeps data in other files ({location!r}), which a guest's model may not"
    )


def test_external_data_without_a_location_is_no_way_round(guests):
    made = tiny_models.outside("w.bin")
    del made.graph.initializer[0].external_data[:]
    assert "does not load" in refusal(guests, made.SerializeToString())


def test_a_small_model_cannot_take_the_hosts_memory(guests):
    """Not while it loads, when constants are computed elsewhere, and not when it runs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = guests.open_bytes(tiny_models.zeros(2**29).SerializeToString(), soon())
    with pytest.raises(InferenceError, match=r"Available memory of .* is smaller than requested bytes of 2147483648"):
        model.run({"x": np.ones(1, np.float32)}, ["y"], soon())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB: 128 MiB


def test_what_guests_models_held_is_there_for_the_next(guests):
    model = guests.open_bytes(tiny_models.zeros(2**24).SerializeToString(), soon())
    for _ in range(20):  # 64 MiB each
        (result,) = model.run({"x": np.ones(1, np.float32)}, ["y"], soon())
        assert result[-1] == 1


def test_opens_nothing_after_the_deadline(guests):
    data = tiny_models.doubling().SerializeToString()
    with pytest.raises(DeadlineExceeded):
        guests.open_bytes(data, Deadline.after(0))
    assert not guests._guest_models


def test_does_not_wait_for_anothers_loading_past_the_deadline(guests):
    data = tiny_models.doubling().SerializeToString()
    cancelled = soon()
    threading.Timer(0.05, cancelled.cancel).start()
    with guests._opening:
        with pytest.raises(DeadlineExceeded):
            guests.open_bytes(data, Deadline.after(0.05))
        with pytest.raises(Cancelled):
            guests.open_bytes(data, cancelled)


def test_ends_the_loading_of_a_guests_model_at_the_deadline(guests, monkeypatch):
    """The deadline passes just as ONNX Runtime begins."""
    deadline = soon()

    def late(data: bytes, check: Callable[[], None]) -> list[str]:
        found = external_locations(data, check)
        deadline.cancel()
        return found

    monkeypatch.setattr(registry_module, "external_locations", late)
    with pytest.raises(Cancelled):
        guests.open_bytes(tiny_models.doubling().SerializeToString(), deadline)
    assert not guests._guest_models


def test_lets_runs_finish_when_it_closes(tmp_path):
    path = tiny_models.save(tmp_path, tiny_models.counting())
    registry = Registry.open([ModelConfig(name="a", path=path, threads=1)])
    model = registry.named("a")
    assert model is not None
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(model.run, {"x": np.array([[200_000]])}, ["y"], soon())
        while model._traffic._running == 0:
            pass
        registry.close()
        registry.close()
        assert running.result()[0].tolist() == [[200_000]]
    for call in (
        lambda: model.run({"x": np.array([[1]])}, ["y"], soon()),
        lambda: registry.open_bytes(b"", soon()),
    ):
        with pytest.raises(InferenceError, match="closed"):
            call()
