"""Every access to a guest's memory, checked. Nothing else may touch it.

Base address and size are asked for anew at each access (any call into the guest may move or grow the memory), and no
view of it outlives a call here: reads copy out, writes copy in. All integers are little-endian.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from ctypes import memmove
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guesthouse_abi.errors import BadText, OutOfBounds
from guesthouse_abi.pages import Pages, pages_of

#: What an engine supplies: the memory's present host address and its size in bytes.
RawMemory = Callable[[], tuple[int, int]]
#: What the instances of one module share: where, and for which digest, pages of the mapped file were found to hold the
#: bytes with that digest (`sessions/model_lookup.py`).
Image = dict[tuple[int, str], NDArray[np.bool_]]

#: Bytes up to which a copy is made with the interpreter's lock kept: to give it away takes longer, and another thread
#: may take it for a while.
_SHORT = 1 << 16
_copied = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)
_move_short = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)(
    ("memmove", ctypes.PyDLL(None))
)
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memcmp.restype = ctypes.c_int

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Memory:
    """A guest's memory 0. Pointers and lengths are unsigned numbers as the guest gave them; anything may be in them.

    Every method raises `OutOfBounds` when a range does not lie wholly inside the memory.
    """

    __slots__ = ("_locate", "image")

    def __init__(self, locate: RawMemory, image: Image | None = None) -> None:
        """`image` is the same for all instances of one module; None where they are not made from a mapped file."""
        self._locate = locate
        self.image = image

    @property
    def size(self) -> int:
        """Bytes that the memory has now."""
        return self._locate()[1]

    def check(self, pointer: int, length: int) -> None:
        """Raise `OutOfBounds` unless the range lies inside the memory."""
        size = self._locate()[1]
        if pointer < 0 or length < 0 or pointer + length > size:
            raise OutOfBounds(pointer, length, size)

    def read(self, pointer: int, length: int) -> bytes:
        """A copy of `length` bytes."""
        base, size = self._locate()
        if pointer < 0 or length < 0 or pointer + length > size:
            raise OutOfBounds(pointer, length, size)
        copied: bytes = _copied(base + pointer, length)
        return copied

    def write(self, pointer: int, data: bytes) -> None:
        """Copy `data` into the guest."""
        base, size = self._locate()
        length = len(data)
        if pointer < 0 or pointer + length > size:
            raise OutOfBounds(pointer, length, size)
        if length <= _SHORT:
            _move_short(base + pointer, data, length)
        else:
            memmove(base + pointer, data, length)

    def text(self, pointer: int, length: int, most: int = 4096) -> str:
        """A UTF-8 string of at most `most` bytes. Raises `BadText`."""
        if length > most:
            self.check(pointer, length)
            raise BadText(f"a string of {length} bytes; at most {most} are read here")
        try:
            return self.read(pointer, length).decode()
        except UnicodeDecodeError:
            raise BadText("a string that is not UTF-8") from None

    def bytes_at(self, pointer: int, length: int) -> GuestBytes:
        """The guest's bytes there, as a value that is read later."""
        return GuestBytes(self, pointer, length)

    def unpack(self, layout: struct.Struct, pointer: int) -> tuple[Any, ...]:
        """The fields of a record at `pointer`."""
        return layout.unpack(self.read(pointer, layout.size))

    def u32(self, pointer: int) -> int:
        value: int = _U32.unpack(self.read(pointer, 4))[0]
        return value

    def set_u32(self, pointer: int, value: int) -> None:
        self.write(pointer, _U32.pack(value))

    def set_u64(self, pointer: int, value: int) -> None:
        self.write(pointer, _U64.pack(value))

    def array(self, pointer: int, count: int, dtype: np.dtype[Any] | type[Any]) -> NDArray[Any]:
        """A copy of `count` elements as a fresh one-dimensional array (little-endian, any alignment)."""
        base, size = self._locate()
        length = count * np.dtype(dtype).itemsize
        if pointer < 0 or count < 0 or pointer + length > size:
            raise OutOfBounds(pointer, length, size)
        result = np.empty(count, dtype)
        memmove(result.ctypes.data, base + pointer, length)
        return result

    def write_array(self, pointer: int, array: NDArray[Any]) -> None:
        """Copy a C-contiguous array's bytes into the guest."""
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array)
        base, size = self._locate()
        length = array.nbytes
        if pointer < 0 or pointer + length > size:
            raise OutOfBounds(pointer, length, size)
        memmove(base + pointer, array.ctypes.data, length)

    def equals(self, pointer: int, data: bytes) -> bool:
        """Whether the guest's bytes at `pointer` are `data`, compared in place."""
        base, size = self._locate()
        length = len(data)
        if pointer < 0 or pointer + length > size:
            raise OutOfBounds(pointer, length, size)
        return bool(_memcmp(base + pointer, data, length) == 0)


class GuestBytes:
    """Bytes of a guest that are not copied yet: what an import module makes of a pointer and a length.

    That they lie inside the memory is looked at when this is made, and again at each access. A large argument is
    compared in place, or copied once its size is accounted for; who does so sees no pointer. Raises `OutOfBounds`.
    """

    __slots__ = ("_length", "_memory", "_pointer")

    def __init__(self, memory: Memory, pointer: int, length: int) -> None:
        memory.check(pointer, length)
        self._memory = memory
        self._pointer = pointer
        self._length = length

    def __len__(self) -> int:
        return self._length

    def copy(self) -> bytes:
        """All of them."""
        return self._memory.read(self._pointer, self._length)

    def text(self, most: int) -> str:
        """All of them as UTF-8, of which there may be at most `most`. Raises `BadText`."""
        return self._memory.text(self._pointer, self._length, most)

    def array(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """All of them as the elements of a fresh one-dimensional array; a rest that is no element is left out."""
        return self._memory.array(self._pointer, self._length // dtype.itemsize, dtype)

    @property
    def pointer(self) -> int:
        """Where they begin in the guest's memory."""
        return self._pointer

    @property
    def image(self) -> Image | None:
        """See `Memory`."""
        return self._memory.image

    def pages(self) -> Pages | None:
        """The pages that they lie in; None where there are no bytes, or the system does not tell."""
        base, _ = self._memory._locate()
        self._memory.check(self._pointer, self._length)
        return pages_of(base + self._pointer, self._length) if self._length else None

    def has_at(self, offset: int, data: bytes) -> bool:
        """Whether `data` stands at `offset` in them, compared without a copy."""
        return offset + len(data) <= self._length and self._memory.equals(self._pointer + offset, data)
