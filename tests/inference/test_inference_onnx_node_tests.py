"""ONNX's own tests of its operators: whatever of them ONNX Runtime runs is served, with the results that ONNX expects.

The `onnx` package makes the tests when it is asked to: models of one node or a few, their inputs and their outputs.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from guesthouse.inference.model import ModelConfig, OnnxModel
from guesthouse.inference.modelfile import ModelFault
from guesthouse.inference.traffic import Traffic
from guesthouse.inference.watch import Watch
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError
from inference import tiny_models

#: What is not served, by the words that say so, and why that is right.
REFUSED = {
    "not run by ONNX Runtime": "it has the operator, and refuses these inputs",
    "ONNX Runtime does not load it": "it has no such operator, or not for these types",
    "which guests cannot give": "an input is of text, a sequence, an optional value, or of numbers that numpy has not",
    "it has no output that is a tensor of numbers": "there is nothing that a guest could be given",
}
#: Models whose results are other ones at each run.
RANDOM = {
    "test_training_dropout",
    "test_training_dropout_default",
    "test_training_dropout_default_mask",
    "test_training_dropout_mask",
}


def collected() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, on overflows that tests are about
        return collect_testcases(None)


def array(value: object) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def bare(made: onnx.ModelProto, given: dict[str, np.ndarray], wanted: list[str]) -> list[np.ndarray] | None:
    """What ONNX Runtime alone gives; None where it does not run."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    try:
        found: list[np.ndarray] = session.run(wanted, given)
        return found
    except Exception:
        return None


def alike(results: list[np.ndarray], expected: list[np.ndarray], case: Any) -> bool:
    return all(
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.allclose(one, other, rtol=case.rtol, atol=case.atol, equal_nan=one.dtype.kind == "f")
        for one, other in zip(results, expected, strict=True)
    )


def outcome(case: Any, folder: Path, watch: Watch) -> str:
    """Nothing where the model is served, and gives what ONNX says or ONNX Runtime alone gives; else what happened."""
    path = tiny_models.save(folder, case.model)
    try:
        model = OnnxModel.load(ModelConfig(name="node", path=path, threads=1), watch, Traffic())
    except ModelFault as fault:
        return f"refused: {fault}"
    wanted = [info.name for info in model.outputs if info.dtype is not None]
    for inputs, outputs in case.data_sets:
        given = {info.name: array(value) for info, value in zip(case.model.graph.input, inputs, strict=True)}
        expected = dict(zip([info.name for info in case.model.graph.output], outputs, strict=True))
        try:
            results = model.run(given, wanted, Deadline(math.inf))
        except InferenceError as error:
            return f"not run: {error}" if bare(case.model, given, wanted) is not None else "not run by ONNX Runtime"
        if not alike(results, [array(expected[name]) for name in wanted], case):
            other = bare(case.model, given, wanted) or []  # it rounds otherwise, or has another opinion
            if not all(np.array_equal(one, same, equal_nan=True) for one, same in zip(results, other, strict=True)):
                return "other results"
    model.close()
    return ""


@pytest.mark.slow
@pytest.mark.skipif(
    tuple(map(int, ort.__version__.split(".")[:2])) < (1, 24),
    reason="ONNX Runtime 1.23 ends the process where whole numbers are divided by zero, as in these tests",
)
def test_what_onnx_runtime_runs_of_onnxs_own_tests_is_served_with_its_results(tmp_path, watch):
    outcomes = {case.name: outcome(case, tmp_path, watch) for case in collected() if case.name not in RANDOM}
    refused = {name for name, what in outcomes.items() if any(words in what for words in REFUSED)}
    assert {name: what for name, what in outcomes.items() if what and name not in refused} == {}
    assert len(outcomes) - len(refused) > 1500
