"""All models of one manifest, found by name and by digest, and the models that guests hand over themselves."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from guesthouse.inference.model import ModelConfig, ModelIdentity, OnnxModel
from guesthouse.inference.modelfile import ModelFault, external_locations
from guesthouse.inference.session import OnnxSession
from guesthouse.inference.traffic import Traffic
from guesthouse.inference.watch import Watch
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import InferenceError

LARGEST_GUEST_MODEL = 64 * 2**20  # bytes
GUEST_MODELS = 4  # of guests' own models, that are kept open

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class ModelFaults(Exception):
    """Models cannot be served. Each line of `faults` names a model, its file, what is wrong and what to do."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class Registry:
    """The host's models; satisfies `guesthouse_abi.services.Inference`. Safe for any number of threads."""

    def __init__(self, models: Iterable[OnnxModel], watch: Watch, traffic: Traffic) -> None:
        self._models = {model.name: model for model in models}
        self._watch = watch
        self._traffic = traffic
        self._closed = False
        self._opening = threading.Lock()  # one guest's model is loaded at a time, for loading takes memory and a core
        self._guest_models: list[tuple[bytes, OnnxModel]] = []  # (bytes, model), the one that was used last at the end
        self._digests: dict[str, OnnxModel] = {}
        for model in self._models.values():
            self._digests.setdefault(model.sha256, model)  # of two names for one file, the first counts
            self._digests.update((digest.lower(), model) for digest in model.config.stands_for)

    @classmethod
    def open(cls, configs: Iterable[ModelConfig], previous: Registry | None = None) -> Registry:
        """Load all models. Raises `ModelFaults` with the faults of all models; then none stays loaded.

        A model that is unchanged since `previous` was opened is not loaded again: both registries hold it. `previous`
        must not be closed yet.
        """
        if previous is None:
            watch, traffic = Watch(), Traffic()
        else:
            watch, traffic = previous._watch.retain(), previous._traffic
        models: list[OnnxModel] = []
        faults: list[str] = []
        for config in configs:
            known = previous.named(config.name) if previous is not None else None
            try:
                same = known is not None and known.unchanged_for(config)
                models.append(known.retain() if known and same else OnnxModel.load(config, watch, traffic))
            except ModelFault as error:
                faults += [f"model {config.name!r}: {config.path}: {fault}" for fault in error.faults]
        faults += _digest_faults(models)
        registry = cls(models, watch, traffic)
        if faults:
            registry.close()
            raise ModelFaults(faults)
        return registry

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def models(self) -> tuple[OnnxModel, ...]:
        """The manifest's models, in its order."""
        return tuple(self._models.values())

    def named(self, name: str) -> OnnxModel | None:
        """The model with this name."""
        return self._models.get(name)

    def standing_for(self, sha256: str) -> OnnxModel | None:
        """The model for bytes with this digest: the digest of its own file, or one of its `stands_for`."""
        return self._digests.get(sha256)

    def open_bytes(self, data: bytes, deadline: Deadline) -> OnnxModel:
        """A model made from a guest's own ONNX bytes, now or earlier. It runs on one thread.

        The last few such models are kept, and found again by comparing the bytes. A model with external data is
        refused, and its memory is bounded (see `OnnxSession`). ONNX Runtime itself may still crash on a hostile model:
        a guest that may do this is trusted not to crash the process.

        Raises `InferenceError`, `DeadlineExceeded`, `Cancelled`.
        """
        if len(data) > LARGEST_GUEST_MODEL:
            raise InferenceError(f"the guest's model has {len(data)} bytes; at most {LARGEST_GUEST_MODEL} are allowed")
        deadline.check()
        while not self._opening.acquire(timeout=min(deadline.remaining(), 0.05)):
            deadline.check()
        try:
            if self._closed:
                raise InferenceError("the models are closed: the host is shutting down, or has loaded them anew")
            model = self._taken_from_kept(data) or self._open(data, deadline)
            self._guest_models.append((data, model))
            del self._guest_models[:-GUEST_MODELS]
        finally:
            self._opening.release()
        deadline.check()
        return model

    def close(self) -> None:
        """Let go of all models. Those that nothing else holds are closed; runs under way finish. Twice is no error."""
        if self._closed:
            return
        self._closed = True
        for model in self._models.values():
            model.close()
        with self._opening:
            for _, model in self._guest_models:
                model.close()
            self._guest_models.clear()
        self._watch.close()

    def _taken_from_kept(self, data: bytes) -> OnnxModel | None:
        """Take the model that was made from `data` out of the kept ones; None where there is none."""
        for index, (known, model) in enumerate(self._guest_models):
            if known == data:
                del self._guest_models[index]
                return model
        return None

    def _open(self, data: bytes, deadline: Deadline) -> OnnxModel:
        try:
            external = external_locations(data, deadline.check)
        except ModelFault as fault:
            raise InferenceError(f"the guest's model {fault}") from None
        if external:
            raise InferenceError(
                f"the guest's model keeps data in other files ({external[0][:64]!a}), which a guest's model may not"
            )
        try:
            session = OnnxSession(data, 1, self._watch, deadline, guest=True)
        except InferenceError as error:
            raise InferenceError(f"the guest's model does not load: {error}") from None
        identity = ModelIdentity(hashlib.sha256(data).hexdigest(), len(data))
        config = ModelConfig(name=f"guest:{identity.sha256[:12]}", path=Path(), threads=1)
        return OnnxModel(config, identity, (session,), self._traffic, guest=True)


def _digest_faults(models: Sequence[OnnxModel]) -> list[str]:
    """What is wrong with `stands_for` of the models: each digest must lead to one model only."""
    faults = []
    files = {model.sha256: model.name for model in models}
    claims: dict[str, str] = {}
    for model in models:
        for given in model.config.stands_for:
            digest = given.lower()
            first = claims.setdefault(digest, model.name)
            if not _SHA256.fullmatch(given):
                why = f"{given!r}, which is no sha256 of 64 hexadecimal digits"
            elif first != model.name:
                why = f"{digest}, which is also claimed by model {first!r}: name it once"
            elif digest in files and digest != model.sha256:
                why = f"{digest}, which is the file of model {files[digest]!r}: take it out"
            else:
                continue
            faults.append(f"model {model.name!r}: `stands_for` has {why}")
    return faults
