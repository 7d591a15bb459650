"""One model: how it is loaded, what it accepts, and how its runs end."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from guesthouse.inference import session
from guesthouse.inference.model import ModelConfig, OnnxModel
from guesthouse.inference.modelfile import ModelFault
from guesthouse.inference.session import OnnxSession, without_host_details
from guesthouse.inference.traffic import CALM, Traffic
from guesthouse.inference.watch import Watch
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Cancelled, DeadlineExceeded, InferenceError
from guesthouse_abi.services import TensorInfo
from inference import tiny_models
from inference.tiny_models import FLOAT
from support.waiting import join, until


def soon() -> Deadline:
    return Deadline.after(30)


def refusal(model: OnnxModel, inputs, outputs=("y",)) -> str:
    with pytest.raises(InferenceError) as raised:
        model.run(inputs, outputs, soon())
    return str(raised.value)


def fault(load, made, **config) -> str:
    with pytest.raises(ModelFault) as raised:
        load(made, **config)
    return str(raised.value)


# Trained models on photos.


@pytest.fixture(scope="module")
def classifier(models):
    watch = Watch()
    model = OnnxModel.load(ModelConfig(name="classifier", path=models / "efficientnet-lite0.onnx"), watch, Traffic())
    yield model
    model.close()
    watch.close()


def whole(path, side: int) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))[None]


def crop(path) -> np.ndarray:
    """The centre 87.5 % of the shorter side, as the classifier was trained on."""
    with Image.open(path) as picture:
        side = round(min(picture.size) * 0.875)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC))[None]


@pytest.mark.parametrize(
    ("photo", "label", "probability"),
    [
        ("coffee.png", 967, 0.901),
        ("chelsea.png", 285, 0.771),
        ("rocket.jpg", 540, 0.566),
        ("astronaut.png", 450, 0.198),
    ],
)
def test_knows_what_is_on_a_photo(classifier, photos, photo, label, probability):
    (found,) = classifier.run({"input": whole(photos / photo, 224)}, ["probabilities"], soon())
    assert found.shape == (1, 1000)
    assert found.max() == pytest.approx(probability, abs=0.01)
    assert found.argmax() == label


def test_knows_the_centre_of_the_coffee_photo_better(classifier, photos):
    (found,) = classifier.run({"input": crop(photos / "coffee.png")}, ["probabilities"], soon())
    assert found[0, 967] == pytest.approx(0.951, abs=0.005)


def test_says_what_the_classifier_is(classifier, models):
    data = (models / "efficientnet-lite0.onnx").read_bytes()
    assert classifier.inputs == (TensorInfo("input", np.dtype(np.uint8), (None, 224, 224, 3)),)
    assert classifier.outputs == (TensorInfo("probabilities", np.dtype(np.float32), (None, 1000)),)
    assert classifier.batchable
    assert (classifier.sha256, classifier.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert classifier.providers == ("CPUExecutionProvider",)
    assert classifier.warmup_seconds > 0
    assert classifier.notes == []
    assert len(classifier.costs) == len(classifier.threads)
    assert classifier.cost() == sum(classifier.costs)


def test_what_a_model_costs_is_memory_of_its_sessions(models):
    # In a process of its own: elsewhere sessions may fit into what other tests have freed.
    code = (
        "import sys, pathlib; from guesthouse.inference.registry import ModelConfig, Registry;"
        "models = Registry.open([ModelConfig(name='m', path=pathlib.Path(sys.argv[1]), threads=1)]);"
        "print(models.named('m').cost()); models.close()"
    )
    command = [sys.executable, "-c", code, str(models / "efficientnet-lite0.onnx")]
    cost = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 10 << 20 < cost < 300 << 20


@pytest.mark.parametrize(
    ("photo", "person"),
    [("astronaut.png", 0.836), ("coffee.png", 0.012), ("chelsea.png", 0.070), ("rocket.jpg", 0.215)],
)
def test_knows_whether_a_person_is_there(load, models, photos, photo, person):
    model = load(models / "visual_wake_words.onnx", threads=1)
    (found,) = model.run({"input_1": whole(photos / photo, 96).astype(np.float32)}, ["Identity"], soon())
    assert found[0, 0] == pytest.approx(person, abs=0.06)


# What is checked before anything runs.


def test_refuses_an_unknown_input(load):
    model = load(tiny_models.doubling())
    x = np.zeros((1, 4), np.float32)
    assert refusal(model, {"x": x, "z": x}) == "model tiny has no input 'z'; it has 'x' (float32 [?, 4])"


def test_cuts_a_long_name_in_an_error(load):
    text = refusal(load(tiny_models.doubling()), {"\n" * 5000: np.zeros(1)})
    assert "\n" not in text
    assert len(text) < 300


def test_refuses_a_missing_input(load):
    assert refusal(load(tiny_models.doubling()), {}) == "model tiny: input 'x' is missing: float32 [?, 4] is expected"


@pytest.mark.parametrize(
    ("tensor", "came"),
    [
        (np.zeros((1, 4), np.float64), "float64 [1, 4]"),
        (np.zeros((1, 4), ">f4"), "float32 [1, 4]"),
        (np.zeros(4, np.float32), "float32 [4]"),
        (np.zeros((1, 4, 1), np.float32), "float32 [1, 4, 1]"),
        (np.zeros((1, 5), np.float32), "float32 [1, 5]"),
        (np.float32(1).reshape(()), "float32 []"),
    ],
)
def test_refuses_the_wrong_type_or_shape(load, tensor, came):
    model = load(tiny_models.doubling())
    assert refusal(model, {"x": tensor}) == f"model tiny: input 'x' is float32 [?, 4], but {came} came"


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"max_batch": 3}, 3),
        ({"batch": (2, 0.001)}, 32),
        ({"batch": (40, 0.001)}, 40),
        ({"batch": (2, 0.001), "max_batch": 3}, 3),
    ],
)
def test_takes_as_many_rows_as_the_manifest_says_of_batches(load, config, most):
    model = load(tiny_models.doubling(), **config)
    assert len(model.run({"x": np.ones((most, 4), np.float32)}, ["y"], soon())[0]) == most
    assert refusal(model, {"x": np.zeros((most + 1, 4), np.float32)}) == (
        f"model tiny: input 'x' has {most + 1} rows; up to {most} (max_batch) are allowed"
    )


def test_without_batches_only_elements_are_counted(load):
    """Samples or time may be the first dimension."""
    model = load(tiny_models.doubling(), max_elements=400_000)
    assert model.run({"x": np.ones((100_000, 4), np.float32)}, ["y"], soon())[0].sum() == 800_000
    assert refusal(model, {"x": np.ones((100_001, 4), np.float32)}) == (
        "model tiny: input 'x' has 400004 elements; up to 400000 (max_elements) are allowed"
    )
    assert load(tiny_models.doubling(rows=101), max_elements=400).name == "tiny"  # nothing is free: the model says it


@pytest.mark.parametrize("config", [{}, {"batch": (4, 0.001)}])
def test_takes_no_rows_where_the_first_dimension_is_free(load, config):
    (none,) = load(tiny_models.doubling(), **config).run({"x": np.ones((0, 4), np.float32)}, ["y"], soon())
    assert none.shape == (0, 4)


def test_max_batch_is_for_free_dimensions_only(load):
    model = load(tiny_models.doubling(rows=40))
    assert not model.batchable
    assert model.run({"x": np.ones((40, 4), np.float32)}, ["y"], soon())[0].sum() == 320


def test_refuses_an_unknown_output(load):
    x = np.zeros((1, 4), np.float32)
    assert refusal(load(tiny_models.doubling()), {"x": x}, ["q"]) == (
        "model tiny has no output 'q'; it has 'y' (float32 [?, 4])"
    )


def test_refuses_to_run_for_no_output(load):
    x = np.zeros((1, 4), np.float32)
    assert refusal(load(tiny_models.doubling()), {"x": x}, []) == (
        "model tiny: no output is asked for; it has 'y' (float32 [?, 4])"
    )


def test_refuses_an_output_of_text(load):
    model = load(tiny_models.texts())
    x = np.ones(2, np.float32)
    assert refusal(model, {"x": x}, ["y", "t"]) == ("model tiny: output 't' is text, which cannot be given to a guest")
    assert model.run({"x": x}, ["y"], soon())[0].tolist() == [1, 1]


@pytest.fixture(scope="module")
def doubling(tmp_path_factory):
    watch = Watch()
    path = tiny_models.save(tmp_path_factory.mktemp("models"), tiny_models.doubling())
    model = OnnxModel.load(ModelConfig(name="tiny", path=path, threads=1, max_batch=4), watch, Traffic())
    yield model
    model.close()
    watch.close()


DTYPES = st.sampled_from(
    ["float32", "float64", "float16", "int8", "uint8", "int64", "bool", "complex64", "U1", "S3", "O"]
)
TENSORS = st.builds(
    lambda dtype, shape: np.zeros(shape, dtype), DTYPES, st.lists(st.integers(0, 5), max_size=4).map(tuple)
)


@given(
    st.dictionaries(st.sampled_from(["x", "y", "", "z" * 100]), TENSORS, max_size=2),
    st.lists(st.sampled_from(["y", "x", ""]), max_size=3),
)
def test_runs_what_fits_and_refuses_all_else(doubling, inputs, outputs):
    x = inputs.get("x")
    fits = x is not None and x.dtype == np.float32 and x.ndim == 2 and x.shape[1] == 4 and len(x) <= 4
    if fits and len(inputs) == 1 and outputs and set(outputs) == {"y"}:
        results = doubling.run(inputs, outputs, soon())
        assert [result.shape for result in results] == [x.shape] * len(outputs)
    else:
        with pytest.raises(InferenceError, match=r"^model tiny"):
            doubling.run(inputs, outputs, soon())


def test_takes_tensors_in_any_memory_layout(load):
    x = np.arange(8, dtype=np.float32).reshape(4, 2).T
    assert load(tiny_models.doubling()).run({"x": x}, ["y"], soon())[0].tolist() == (x + x).tolist()


def test_results_are_the_callers_own(load):
    model = load(tiny_models.doubling())
    x = np.ones((1, 4), np.float32)
    (first,) = model.run({"x": x}, ["y"], soon())
    first[:] = 7
    assert model.run({"x": x}, ["y"], soon())[0].tolist() == [[2, 2, 2, 2]]
    assert x.tolist() == [[1, 1, 1, 1]]


def test_finds_inputs_and_outputs_by_the_names_that_guests_use(load):
    model = load(tiny_models.doubling(), inputs={"image": "x"}, outputs={"softmax": "y"})
    for found, name in ((model.input("image"), "x"), (model.input("x"), "x"), (model.output("softmax"), "y")):
        assert found is not None
        assert found.name == name
    assert model.input("y") is None
    assert model.output("x") is None


# How runs end.


def endless() -> dict[str, np.ndarray]:
    return {"x": np.array([[tiny_models.ENDLESS]])}


def test_ends_a_run_at_its_deadline(load):
    model = load(tiny_models.counting())
    with pytest.raises(DeadlineExceeded, match="the time limit was reached"):
        model.run(endless(), ["y"], Deadline.after(0.05))
    assert model.run({"x": np.array([[3]])}, ["y"], soon())[0].tolist() == [[3]]


def test_ends_a_run_when_its_caller_hangs_up(load):
    model = load(tiny_models.counting())
    deadline = soon()
    threading.Timer(0.05, deadline.cancel).start()
    with pytest.raises(Cancelled, match="the caller hung up"):
        model.run(endless(), ["y"], deadline)


def test_ends_only_the_run_that_is_over(load):
    model = load(tiny_models.counting())
    over: list[Exception] = []

    def overrun() -> None:
        try:
            model.run(endless(), ["y"], Deadline.after(0.05))
        except DeadlineExceeded as error:
            over.append(error)

    thread = threading.Thread(target=overrun)
    thread.start()
    while thread.is_alive():
        assert model.run({"x": np.array([[1000]])}, ["y"], soon())[0].tolist() == [[1000]]
    assert len(over) == 1


def test_runs_nothing_after_the_deadline(load):
    model = load(tiny_models.doubling())
    with pytest.raises(DeadlineExceeded):
        model.run({}, [], Deadline.after(0))
    with pytest.raises(DeadlineExceeded):
        model._sessions[0].run({"x": np.zeros((1, 4), np.float32)}, ["y"], Deadline.after(0), give_back=False)


def test_gives_on_what_onnx_runtime_says_of_a_failed_run(load):
    model = load(tiny_models.table())
    assert refusal(model, {"x": np.array([9])}) == (
        "Non-zero status code returned while running Gather node. Name:'' Status Message: "
        "indices element out of data bounds, idx=9 must be within the inclusive range [-4,3]"
    )


def test_takes_sources_and_folders_out_of_onnx_runtimes_words(tmp_path):
    said = (
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Reshape node. "
        "Name:'/features/1/Reshape' Status Message: /onnxruntime_src/onnxruntime/core/reshape_helper.h:39 "
        "onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, int (*)(bool)) "
        f'size != 0 was false. File "{tmp_path}/secret/w.bin".\n'
    )
    assert without_host_details(said) == (
        "Non-zero status code returned while running Reshape node. Name:'/features/1/Reshape' Status Message: "
        'size != 0 was false. File "w.bin".'
    )
    assert without_host_details("x" * 600) == "x" * 512 + " …"


def test_cuts_onnx_runtimes_words_before_it_looks_at_them(monkeypatch):
    """They repeat a guest's names, of any length; a pattern over all of it took time that grew with its square."""
    seen: list[int] = []

    class Counting:
        def __init__(self, pattern):
            self.pattern = pattern

        def sub(self, replacement, text):
            seen.append(len(text))
            return self.pattern.sub(replacement, text)

    for name in ("_SOURCE", "_CODE", "_PATH"):
        monkeypatch.setattr(session, name, Counting(getattr(session, name)))
    assert without_host_details("a/b." * 2**18) == ("a/b." * 128) + " …"
    assert len(seen) == 3
    assert max(seen) <= 4096


# What a model may not be.


def test_refuses_what_is_no_model(load, tmp_path):
    (tmp_path / "m").write_bytes(b"no model" * 9)
    assert fault(load, tmp_path / "m") == (
        "ONNX Runtime does not load it: Failed to load model because protobuf parsing failed."
    )


def test_refuses_models_of_onnx_runtimes_own_format(load, tmp_path):
    (tmp_path / "m.ort").write_bytes(b"\x18\0\0\0ORTM" + bytes(100))
    assert "protobuf parsing failed" in fault(load, tmp_path / "m.ort")


def test_refuses_an_opset_of_the_future(load):
    text = fault(load, tiny_models.model([], [], [], opset=99))
    assert text.startswith("ONNX Runtime does not load it: ONNX Runtime only *guarantees* support for models stamped")
    assert "Opset 99 is under development" in text
    assert "onnxruntime_src" not in text


def test_refuses_operators_that_onnx_runtime_has_not(load):
    made = tiny_models.doubling()
    made.graph.node[0].op_type = "Foo"
    assert re.search("does not load it: .*Foo", fault(load, made))


def test_notes_that_a_model_does_not_run_on_zeros(load):
    """Inputs may be shapes, steps or divisors."""
    (note,) = load(tiny_models.broken()).notes
    assert note.startswith(
        "not tried at load, for it does not run on zeros, with 1 for every free dimension (Non-zero status code "
        "returned while running Gather node."
    )
    assert note.endswith('): give samples, as in warm_up = "samples.npz", or write warm_up = false')


def test_writes_nothing_to_the_hosts_own_streams(load, capfd):
    assert load(tiny_models.broken()).notes
    fault(load, tiny_models.model([], [], [], opset=99))
    refusal(load(tiny_models.table()), {"x": np.array([9])})
    assert capfd.readouterr() == ("", "")


def test_notes_that_a_model_with_free_sizes_was_not_tried(load):
    model = load(tiny_models.sevens(), threads=1)
    assert "with 1 for every free dimension (Non-zero status" in model.notes[0]
    assert model.run({"x": np.ones((1, 14), np.float32)}, ["y"], soon())[0].shape == (2, 7)


def test_refuses_renames_of_what_is_not_there(load):
    assert fault(load, tiny_models.doubling(), inputs={"image": "in"}, outputs={"softmax": "out"}) == (
        "`inputs` renames 'image' to 'in', which it does not have: it has 'x'; "
        "`outputs` renames 'softmax' to 'out', which it does not have: it has 'y'"
    )


def test_refuses_models_that_take_or_give_what_guests_have_not_and_names_it(load):
    assert fault(load, tiny_models.wordy()) == (
        "its input 'x' is text, which guests cannot give: convert it to numbers of 8 to 64 bits"
    )
    assert fault(load, tiny_models.same(TensorProto.BFLOAT16)) == (
        "its input 'x' is bfloat16, which guests cannot give: convert it to numbers of 8 to 64 bits; "
        "it has no output that is a tensor of numbers, and guests cannot be given any other: y bfloat16"
    )
    assert fault(load, tiny_models.silent()) == (
        "it has no output that is a tensor of numbers, and guests cannot be given any other: t text"
    )


def test_notes_outputs_that_cannot_be_given(load):
    model = load(tiny_models.voting())
    assert model.notes == [
        "its output 'votes' is a sequence, which cannot be given to a guest: it gets an error number there"
    ]
    assert model.run({"x": np.array([[0.25, 0.75]], np.float32)}, ["y"], soon())[0].tolist() == [[0.5, 1.5]]


def test_takes_any_shape_where_the_model_says_none(load):
    model = load(tiny_models.shapeless())
    assert [str(info) for info in model.inputs] == ["x float32 [any shape]"]
    for shape in [(), (3,), (2, 1, 3)]:
        assert model.run({"x": np.ones(shape, np.float32)}, ["y"], soon())[0].shape == shape
    assert "input 'x' is float32 of any shape, but int64 [1] came" in refusal(model, {"x": np.zeros(1, np.int64)})
    assert "4 elements; up to 3 (max_elements)" in refusal(
        load(tiny_models.shapeless(), max_elements=3), {"x": np.ones(4, np.float32)}
    )
    scalar = load(tiny_models.same(FLOAT, shape=[]))
    assert "input 'x' is float32 [], but float32 [1] came" in refusal(scalar, {"x": np.ones(1, np.float32)})


@pytest.mark.parametrize("config", [{}, {"batch": (4, 0.01)}])
def test_takes_values_of_the_models_own_from_a_guest_and_needs_them_not(load, config):
    model = load(tiny_models.weighted(), **config)
    assert [str(info) for info in model.inputs] == ["x float32 [N,2]", "w float32 [2] (optional)"]
    x, w = np.ones((1, 2), np.float32), np.array([5, 6], np.float32)
    assert model.run({"x": x}, ["y"], soon())[0].tolist() == [[3, 4]]
    assert model.run({"x": x, "w": w}, ["y"], soon())[0].tolist() == [[5, 6]]
    assert model.run({"x": x}, ["y"], soon())[0].tolist() == [[3, 4]]
    assert "input 'w' is float32 [2], but float32 [1] came" in refusal(model, {"x": x, "w": w[:1]})


def test_a_request_with_a_value_of_the_models_own_runs_beside_no_other(load):
    """It would run on that value too."""
    model = load(tiny_models.weighted(), batch=(8, 0.2))
    x, w = np.ones((1, 2), np.float32), np.array([5, 6], np.float32)
    answers: list[tuple[int, list[list[float]]]] = []

    def ask(**given: np.ndarray) -> None:
        answers.append((len(given), model.run(given, ["y"], soon())[0].tolist()))

    threads = [threading.Thread(target=ask, kwargs={"x": x, "w": w} if n % 2 else {"x": x}) for n in range(12)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert sorted(answers) == [(1, [[3, 4]])] * 6 + [(2, [[5, 6]])] * 6


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "ConvTranspose"])
def test_refuses_tensors_without_elements_where_they_would_end_the_process(load, kind):
    """ONNX Runtime 1.32 aborts, or reads what is not its own."""
    if kind == "ConvTranspose":
        nodes = [helper.make_node(kind, ["x", "w"], ["y"])]
        made = tiny_models.model(
            nodes, [("x", FLOAT, ["N", 1, "H", 2])], [("y", FLOAT, None)], [("w", np.ones((1, 1, 2, 2), np.float32))]
        )
        empty, one = [0, 1, 2, 2], [1, 1, 1, 2]
    else:
        gates = {"GRU": 3, "LSTM": 4}[kind]
        weights = [(name, np.ones((1, 4 * gates, 4), np.float32)) for name in "wr"]
        nodes = [helper.make_node(kind, ["x", "w", "r"], ["y"], hidden_size=4)]
        made = tiny_models.model(nodes, [("x", FLOAT, ["T", "N", 4])], [("y", FLOAT, None)], weights)
        empty, one = [2, 0, 4], [2, 1, 4]
    model = load(made)
    assert refusal(model, {"x": np.zeros(empty, np.float32)}) == (
        f"a tensor without elements came, on which ONNX Runtime may end the process ({kind} is in the model): "
        "give one element at least"
    )
    assert model.run({"x": np.ones(one, np.float32)}, ["y"], soon())[0].size
    declared = tiny_models.model(made.graph.node, [("x", FLOAT, list(empty))], [("y", FLOAT, None)])
    declared.graph.initializer.extend(made.graph.initializer)
    assert "give one element at least" in load(declared).notes[0]  # not tried on them at load either


def test_takes_dimensions_that_are_declared_as_nothing(load):
    """An empty cache, say: nothing is put in its place."""
    model = load(tiny_models.doubling(rows=1, width=0))
    assert model.notes == []
    assert model.run({"x": np.ones((1, 0), np.float32)}, ["y"], soon())[0].shape == (1, 0)


def test_finds_no_fault_with_names_that_are_not_utf8_but_the_names(load, tmp_path):
    data = tiny_models.doubling().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data.replace(b"\x01x", b"\x01\xff"))
    assert "a name is not UTF-8" in fault(load, tmp_path / "m.onnx")


# Samples.


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_runs_a_model_on_samples_at_load(load, tmp_path):
    samples = saved(tmp_path / "s.npz", x=np.array([[-8, -9]]))
    model = load(tiny_models.broken(), warm_up=samples)
    assert model.notes == []
    assert model.warmup_seconds > 0


def test_runs_nothing_at_load_where_the_manifest_says_so(load):
    model = load(tiny_models.broken(), warm_up=False)
    assert model.notes == []
    assert model.warmup_seconds == 0


def test_refuses_samples_that_do_not_fit_or_do_not_run(load, tmp_path):
    path = tmp_path / "s.npz"
    assert fault(load, tiny_models.broken(), warm_up=path) == (
        f"the samples in {path}: it is missing: correct `warm_up` (it is relative to the manifest)"
    )
    saved(path, z=np.zeros(1))
    assert fault(load, tiny_models.broken(), warm_up=path) == (
        f"the samples in {path} do not fit: model tiny has no input 'z'; it has 'x' (int64 [1, 2])"
    )
    saved(path, x=np.array([[1, 1]]))
    assert fault(load, tiny_models.broken(), warm_up=path).startswith(
        f"it does not run on the samples in {path}: Non-zero"
    )


def test_a_model_is_loaded_anew_when_its_samples_have_changed(load, tmp_path):
    samples = saved(tmp_path / "s.npz", x=np.array([[-8, -9]]))
    model = load(tiny_models.broken(), warm_up=samples)
    assert model.unchanged_for(model.config)
    saved(samples, x=np.array([[-8, -9]], np.int64))
    os.utime(samples, ns=(1, 1))
    assert not model.unchanged_for(model.config)


def test_batches_are_tried_on_rows_of_the_samples_too(load, tmp_path):
    """Rows depend on each other from the number 10,000 on, which nothing else that is tried has."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["f"]),
        helper.make_node("Max", ["f", "limit"], ["g"]),
        helper.make_node("ReduceMax", ["g"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    made = tiny_models.model(
        nodes,
        [("x", FLOAT, ["N", 1])],
        [("y", FLOAT, ["N", 1])],
        [("flat", np.array([1, -1])), ("limit", np.float32(10000))],
    )
    assert load(made, batch=(4, 0.001)).batchable
    samples = saved(tmp_path / "s.npz", x=np.array([[1], [20000], [30000]], np.float32))
    assert "depends on the other rows of a batch" in fault(load, made, batch=(4, 0.001), warm_up=samples)


def test_loads_external_data_from_its_own_folder_and_only_that(load, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    model = load(tiny_models.outside("w.bin"))
    assert model.run({"x": np.ones(4, np.float32)}, ["y"], soon())[0].tolist() == [1, 2, 3, 4]
    assert "is outside the model's own folder" in fault(load, tiny_models.outside("../w.bin"))


def test_refuses_batches_of_a_fixed_model(load):
    assert fault(load, tiny_models.doubling(rows=1), batch=(64, 0.01), max_batch=32) == (
        "`batch` needs a free first dimension in every input and output, the model has x float32 [1, 4], "
        "y float32 [1, 4]: take `batch` out, or export the model with a free batch; "
        "`batch` is for 64 rows, `max_batch` allows 32"
    )


def test_refuses_batches_of_a_model_whose_rows_are_not_independent(load):
    assert fault(load, tiny_models.centred(), batch=(8, 0.01)) == (
        "`batch` does not fit it: its output 'y' depends on the other rows of a batch, which may be another guest's, "
        "for the node 'm' (ReduceMean): it works over the rows; take `batch` out"
    )


# Which session runs.


@pytest.fixture
def threads_used(monkeypatch) -> list[int]:
    """The threads of each run that is begun from now on."""
    used: list[int] = []
    run = OnnxSession.run

    def noted(self: OnnxSession, *args, **kwargs):
        used.append(self.threads)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(OnnxSession, "run", noted)
    return used


def test_auto_gives_all_cores_to_a_run_that_is_alone_and_one_to_those_that_meet(load, monkeypatch, threads_used):
    monkeypatch.setattr("guesthouse.inference.model.cores", lambda: 2)
    model = load(tiny_models.counting(), threads="auto")
    assert model.threads == (2, 1)
    threads_used.clear()
    deadline = soon()

    def first() -> None:
        with pytest.raises(Cancelled):
            model.run(endless(), ["y"], deadline)

    thread = threading.Thread(target=first)
    thread.start()
    until(lambda: threads_used)
    model.run({"x": np.array([[1]])}, ["y"], soon())
    deadline.cancel()
    join(thread)
    model.run({"x": np.array([[1]])}, ["y"], soon())
    time.sleep(1.5 * CALM)
    model.run({"x": np.array([[1]])}, ["y"], soon())
    assert threads_used == [2, 1, 1, 2]


@pytest.mark.parametrize(
    ("cores", "config", "threads"),
    [(1, {}, (1,)), (4, {}, (4, 1)), (4, {"threads": 3}, (3,)), (4, {"batch": (2, 0.0)}, (4,))],
)
def test_makes_a_second_session_only_where_it_is_of_use(load, monkeypatch, cores, config, threads):
    monkeypatch.setattr("guesthouse.inference.model.cores", lambda: cores)
    assert load(tiny_models.doubling(), **config).threads == threads


def test_gives_memory_back_after_a_run_on_many_pictures(load, models):
    """A run on 32 pictures held 320 MiB for ever where nothing gave it back."""
    model = load(models / "efficientnet-lite0.onnx", threads=1)
    before = _resident()
    model.run({"input": np.zeros((32, 224, 224, 3), np.uint8)}, ["probabilities"], soon())
    assert _resident() - before < 100 * 2**20


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_refuses_runs_after_closing_and_closes_twice(load):
    model = load(tiny_models.doubling())
    model.close()
    model.close()
    assert refusal(model, {"x": np.zeros((1, 4), np.float32)}) == "model tiny is closed"
