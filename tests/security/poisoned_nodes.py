"""ONNX's own node tests under allocators that fill memory, run as `poisoned.py` is: python poisoned_nodes.py OUT STEP.

OUT gets the outputs of each model that ONNX Runtime runs, as a pickled dictionary by the test's name, or why it does
not. Of the modules that have node tests, every STEP-th is taken.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import pickle
import pkgutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from onnx.backend.test.case import node
from poisoned import prepare

from guesthouse.inference.session import OnnxSession
from guesthouse.inference.watch import Watch
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError


def outputs(case: Any, watch: Watch, *, guest: bool) -> list[bytes] | str:
    """What a node test's model gives, or why it gives nothing."""
    try:
        session = OnnxSession(case.model.SerializeToString(), 1, watch, Deadline(math.inf), guest=guest)
        names = [info.name for info in session.outputs if info.dtype is not None]
        inputs = dict(zip([info.name for info in session.inputs], case.data_sets[0][0], strict=True))
        if not names:
            return "no output is a tensor of numbers"
        return [output.tobytes() for output in session.run(inputs, names, Deadline(math.inf), give_back=True)]
    except (InferenceError, ValueError) as error:
        return str(error)


def main(out: str, step: str) -> None:
    prepare()
    warnings.simplefilter("ignore")
    for module in list(pkgutil.iter_modules(node.__path__))[:: int(step)]:
        importlib.import_module(f"{node.__name__}.{module.name}")
    with contextlib.closing(Watch()) as watch:
        results = {
            f"{case.name} {guest}": outputs(case, watch, guest=guest)
            for case in node._NodeTestCases
            if all(isinstance(value, np.ndarray) for value in case.data_sets[0][0])
            for guest in (False, True)
        }
    Path(out).write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
