from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from guesthouse.inference.model import ModelConfig, OnnxModel
from guesthouse.inference.traffic import Traffic
from guesthouse.inference.watch import Watch
from inference import tiny_models


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the trained models."""
    return Path(__file__).resolve().parents[2] / "models"


@pytest.fixture
def watch() -> Iterator[Watch]:
    made = Watch()
    yield made
    made.close()


@pytest.fixture
def load(tmp_path: Path, watch: Watch) -> Iterator[Callable[..., OnnxModel]]:
    """Loads a model made by `tiny_models`, or a file, under the name "tiny"."""
    loaded: list[OnnxModel] = []
    traffic = Traffic()

    def load(made: onnx.ModelProto | Path, **config: object) -> OnnxModel:
        path = made if isinstance(made, Path) else tiny_models.save(tmp_path, made)
        loaded.append(OnnxModel.load(ModelConfig(name="tiny", path=path, **config), watch, traffic))  # type: ignore[arg-type]
        return loaded[-1]

    yield load
    for model in loaded:
        model.close()
