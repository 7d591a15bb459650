"""Writes next_reading.onnx, the model of the demo's thermostat: `python demo/actors/next_reading.py`.

Input `readings` float32 [N,8], one reading a step, the newest last; output `next` float32 [N,1], where the straight
line that fits them best (least squares) is three steps after the newest. It has nothing else: the weights are a
formula's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

READINGS, AHEAD = 8, 3
GOAL = Path(__file__).with_suffix(".onnx")


def weights() -> np.ndarray:
    steps = np.arange(READINGS, dtype=np.float64)
    line = np.linalg.pinv(np.stack([np.ones(READINGS), steps], axis=1))  # readings -> (value at step 0, slope)
    found: np.ndarray = (np.array([1.0, READINGS - 1 + AHEAD]) @ line).astype(np.float32)
    return found


def model() -> onnx.ModelProto:
    readings = helper.make_tensor_value_info("readings", TensorProto.FLOAT, ["N", READINGS])
    ahead = helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N", 1])
    product = helper.make_node("MatMul", ["readings", "weights"], ["next"])
    kept = numpy_helper.from_array(weights().reshape(READINGS, 1), "weights")
    graph = helper.make_graph([product], "next_reading", [readings], [ahead], [kept])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="guesthouse")
    made.ir_version = 8
    return made


if __name__ == "__main__":
    GOAL.write_bytes(model().SerializeToString(deterministic=True))
