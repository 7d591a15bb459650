"""The guest that the README shows in C compiles with its command and answers as the README says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from guesthouse.assembly import open_plan
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from tests.support.doubles import NoOutputs

ROOT = Path(__file__).resolve().parents[2]
CLANG = shutil.which("clang") or shutil.which("clang-19")


def block(page: str, language: str) -> str:
    """The first fenced block of that language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("language", ["c", "rust"])
def test_all_pages_show_the_same_guest(language: str) -> None:
    assert block("README.md", language) == block("guests/README.md", language)
    assert block("docs/guests.md", language) == block("guests/README.md", language)


@pytest.mark.skipif(CLANG is None, reason="no clang here (guests/install-toolchain.sh installs one)")
def test_the_guest_in_c_does_what_the_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"^\$ clang (.*)$", readme, re.MULTILINE)
    likeliest = re.search(r"^ +(\d+)\s+(0\.\d+)$", readme, re.MULTILINE)
    assert command is not None
    assert likeliest is not None
    (tmp_path / "thumb.c").write_text(block("README.md", "c"))
    arguments = shlex.split(command[1].replace("-Iguests/sdk", f"-I{ROOT / 'guests' / 'sdk'}"))
    subprocess.run([str(CLANG), *arguments], cwd=tmp_path, check=True)
    models = f'[app]\nname = "vision"\n[models.classifier]\npath = "{ROOT / "models" / "efficientnet-lite0.onnx"}"\n'
    (tmp_path / "guesthouse.toml").write_text(models + block("README.md", "toml"))
    photo = (ROOT / "tests" / "data" / "photos" / "coffee.png").read_bytes()
    with open_plan(load(tmp_path / "guesthouse.toml", {"GUESTHOUSE_CACHE": str(tmp_path / "cache")})) as plan:
        dispatcher = Dispatcher(Plans(plan), NoOutputs())
        reply = dispatcher.dispatch(Event(Trigger.INVOKE, "thumb", photo))
        with pytest.raises(Failure, match="the body is not a picture") as refused:
            dispatcher.dispatch(Event(Trigger.INVOKE, "thumb", b"a stranger's text"))
    assert refused.value.reason is Reason.MALFORMED
    probabilities = np.frombuffer(reply.body, "<f4")
    assert np.argmax(probabilities) + 1 == int(likeliest[1])
    assert probabilities.max() == pytest.approx(float(likeliest[2]), abs=0.01)
