"""Sample inputs of a model, read from an `.npz` file: arrays by the names of the model's inputs. No pickle is read.

Whether the arrays fit the model is checked in `model`.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from guesthouse_abi.services import Tensor

LARGEST = 256 << 20  # bytes of all arrays together
_MOST = 1024  # arrays


class SamplesFault(Exception):
    """The file cannot be used; the text says why, for the operator."""


def read_samples(path: Path) -> dict[str, Tensor]:
    """The arrays in the file at `path`, by name. Raises `SamplesFault`."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST or sum(entry.file_size for entry in entries) > LARGEST:
                raise SamplesFault(f"has over {_MOST} arrays, or {LARGEST >> 20} MiB: give smaller samples")
            return {entry.filename.removesuffix(".npy"): _array(archive.read(entry)) for entry in entries}
    except FileNotFoundError:
        raise SamplesFault("is missing: correct `warm_up` (it is relative to the manifest)") from None
    except OSError as error:
        raise SamplesFault(f"cannot be read ({error.strerror}): check the path and its permissions") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise SamplesFault(f"is no .npz file of numbers ({error}): write it with numpy.savez") from None


def _array(data: bytes) -> Tensor:
    """One array as `numpy.save` writes it. Its header is checked before an array of that shape is made."""
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    readers: dict[tuple[int, int], Callable[[Any], Any]] = {
        (1, 0): npy.read_array_header_1_0,
        (2, 0): npy.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of numpy's format")
    shape, fortran, dtype = readers[version](file)
    rest = data[file.tell() :]
    if dtype.kind not in "biuf" or any(size < 0 for size in shape):
        raise ValueError(f"an array of {dtype}")
    if math.prod(shape) * dtype.itemsize != len(rest):
        raise ValueError("an array whose bytes are not those of its shape")
    array = np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")
    native: Tensor = array.astype(dtype.newbyteorder("="), order="C")
    return native
