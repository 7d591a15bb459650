"""`guesthouse models`: lists and inspects the models of a manifest, and registers model files that guests embed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tomlkit
import typer
from tomlkit.exceptions import TOMLKitError

from guesthouse.cli.options import DEFAULT_MANIFEST, Json, ManifestFile, example_text, new_app
from guesthouse.cli.output import fail, note, print_table, replace_file
from guesthouse.faults import fault
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import Manifest, load
from guesthouse.manifest.rules import closest
from guesthouse.manifest.tables import Model
from guesthouse.system.stamps import digest_of

if TYPE_CHECKING:
    from guesthouse.inference.model import OnnxModel
    from guesthouse_abi.services import TensorInfo

app = new_app("List, inspect and register models.", example="models list")

_SHORT = 12  # digits of a digest that tell two apart at a glance


@app.command("list", epilog=example_text("models list --json"))
def list_models(manifest: ManifestFile = DEFAULT_MANIFEST, json: Json = False) -> None:
    """The models of a manifest, with the digests of their files."""
    loaded = load(manifest, grants=GRANTS)
    print_table([_row(loaded, name, model, full=json) for name, model in loaded.models.items()], json)
    if not loaded.models:
        note(f"{manifest} has no models: add a table [models.NAME] with the path of an ONNX file")


@app.command(epilog=example_text("models inspect", "models inspect classifier --json"))
def inspect(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Models of the manifest.", show_default="all")
    ] = None,
    manifest: ManifestFile = DEFAULT_MANIFEST,
    json: Json = False,
) -> None:
    """Load models as a server would, and say what goes in and out, whether runs can be batched, and the cost."""
    from guesthouse.inference.registry import Registry  # here: ONNX Runtime takes a while to import
    from guesthouse.plan.build import model_config

    loaded = load(manifest, grants=GRANTS)
    unknown = [name for name in names or () if name not in loaded.models]
    if unknown:
        fail([_no_model(manifest, loaded, name) for name in unknown])
    configs = [model_config(name, loaded.models[name]) for name in dict.fromkeys(names or loaded.models)]
    with contextlib.closing(Registry.open(configs)) as models:
        print_table([_facts(model, full=json) for model in models.models], json)
        for model in models.models:
            for text in [] if json else model.notes:
                note(f"note: model {model.name!r}: {text}")


@app.command(epilog=example_text("models add person visual_wake_words.tflite"))
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of the manifest.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The model file that a guest embeds, in any format.", show_default=False),
    ],
    manifest: ManifestFile = DEFAULT_MANIFEST,
) -> None:
    """Let a model answer for the bytes of FILE: its digest goes into the model's stands_for."""
    loaded = load(manifest, grants=GRANTS)
    if name not in loaded.models:
        fail([_no_model(manifest, loaded, name)])
    try:
        sha256 = digest_of(file)
    except OSError as error:
        fail([fault(f"the file cannot be read ({error.strerror})", str(file), "name the file that the guest embeds")])
    for other, model in loaded.models.items():
        if sha256 in model.stands_for and other != name:
            remedy = "take it out there first: a file stands for one model"
            fail([fault(f"{file} is registered already", f"{manifest}: models.{other}.stands_for", remedy)])
    if sha256 in loaded.models[name].stands_for:
        note(f"{name} stands for {file} already (sha256 {sha256[:_SHORT]}…)")
        return
    register(manifest, name, sha256)
    note(f"{name} now stands for {file} (sha256 {sha256[:_SHORT]}…)")


def register(path: Path, name: str, sha256: str) -> None:
    """Append a digest to `stands_for` of a model in a manifest file; comments and layout stay as they are."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            document: Any = tomlkit.parse(file.read())
        model = document["models"][name]
        digests = model.get("stands_for")
        if digests is None:
            model["stands_for"] = digests = tomlkit.array()
        digests.append(sha256)
        replace_file(path, tomlkit.dumps(document))
    except (OSError, TOMLKitError) as error:
        what = f"the manifest cannot be changed ({error})"
        fail([fault(what, str(path), f'write "{sha256}" into models.{name}.stands_for yourself')])


def _no_model(manifest: Path, loaded: Manifest, name: str) -> str:
    return fault(f"no model {name!r}", str(manifest), closest(name, loaded.models, "its models"))


def _facts(model: OnnxModel, full: bool) -> Mapping[str, object]:
    """What `inspect` prints of a loaded model."""
    return {
        "name": model.name,
        "inputs": [_tensor(info, full) for info in model.inputs] if full else inputs(model),
        "outputs": [_tensor(info, full) for info in model.outputs],
        "batchable": model.batchable,
        "threads": list(model.threads),
        "memory": model.cost() if full else f"{model.cost() / (1 << 20):.0f} MiB",
        "sha256": model.sha256 if full else model.sha256[:_SHORT],
        **({"notes": model.notes} if full else {}),
    }


def inputs(model: OnnxModel) -> list[str]:
    """A model's inputs for people. Optional inputs are only counted: a model may list all its weights as such."""
    optional = sum(info.optional for info in model.inputs)
    needed = [str(info) for info in model.inputs if not info.optional]
    return [*needed, f"{optional} optional"] if optional else needed


def _tensor(info: TensorInfo, full: bool) -> object:
    if not full:
        return str(info)
    shape = None if info.shape is None else list(info.shape)
    return {"name": info.name, "type": info.type, "shape": shape, **({"optional": True} if info.optional else {})}


def _row(manifest: Manifest, name: str, model: Model, full: bool) -> Mapping[str, object]:
    try:
        size: int | None = model.path.stat().st_size
        sha256 = digest_of(model.path)
    except OSError:
        size, sha256 = None, "missing"
    return {
        "name": name,
        "path": str(model.path),
        "bytes": size,
        "sha256": sha256 if full else sha256[:_SHORT],
        "stands_for": list(model.stands_for) if full else [one[:_SHORT] for one in model.stands_for],
        "guests": [guest for guest, table in manifest.guests.items() if name in table.models.values()],
    }
