"""The files that guests are granted: read at load, bounded and hashed. Guests that are granted the same share them.

Contents are copied into memory, so what was hashed is what is served, whatever becomes of the operator's file. How a
guest sees its files is said in `guesthouse_abi`, how they reach worker processes in `process/sealed`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from guesthouse.faults import Faults
from guesthouse.guests.process.sealed import Sealed, opened
from guesthouse_abi.files import NO_FILES, Files, path_problem
from guesthouse_abi.grants import Grants

MOST = 10_000  # files and folders below one granted folder, and files of one guest
DEPTH = 32  # folders inside each other below a granted one
_SHOWN_FAULTS = 8  # of one granted folder; more are counted

Refuse = Callable[[str], None]
"""Takes what is wrong with a file or folder; the walk goes on without it."""


@dataclass(frozen=True, slots=True)
class FileGrant:
    """One file or folder that the manifest grants."""

    at: str  # the guest's path
    host: Path  # the operator's file or folder
    sha256: str | None = None  # that it must have


@dataclass(frozen=True, slots=True)
class Part:
    """What was read for one grant."""

    at: str  # the guest's path
    host: Path  # the operator's file or folder
    files: int  # how many
    size: int  # their bytes together
    sha256: str  # the file's, or of a folder `digest_of` all its files


@dataclass(frozen=True, slots=True)
class Granted:
    """All the files of one guest. For a guest in worker processes they are `sealed`, and `files` is empty."""

    files: Files = NO_FILES
    sealed: Sealed | None = None
    digest: str = ""  # of all names and contents; empty without files
    contents: Mapping[str, bytes] = field(default_factory=dict)  # of `files`, by sha256
    parts: tuple[Part, ...] = ()

    @property
    def opened(self) -> Files:
        """The files, also those of a guest in worker processes."""
        return self.files if self.sealed is None else opened(self.sealed.fd, self.sealed.index)


NOTHING = Granted()


class FileFaults(Faults):
    """Files that cannot be granted; `faults` has every reason."""


class Shelf:
    """Reads files for the guests of one plan, each once. Contents that an earlier plan has in memory are shared."""

    def __init__(self, before: Iterable[Granted] = ()) -> None:
        self._read: dict[Path, tuple[str, bytes]] = {}  # sha256 and content
        self._contents: dict[str, bytes] = {}
        self._sealed: dict[str, Sealed] = {}
        for granted in before:
            self._contents.update(granted.contents)
            if granted.sealed is not None:
                self._sealed[granted.digest] = granted.sealed

    def granted(self, grants: Sequence[FileGrant], limit: int, *, seal: bool, beside: Grants | None = None) -> Granted:
        """Read the files of one guest: at most `limit` bytes, and `seal`ed for worker processes. Raises `FileFaults`.

        `beside` has the guest's other paths (of the body, the reply, the scratch folder), which must not be theirs.
        """
        faults: list[str] = []
        found: dict[str, tuple[str, bytes]] = {}
        parts: list[Part] = []
        left = limit
        for grant in grants:
            try:
                names = self._one(grant, left)
            except FileFaults as error:
                faults += error.faults
                continue
            part = Part(grant.at, grant.host, len(names), sum(len(data) for _, data in names.values()), _pin(names))
            left -= part.size
            if grant.sha256 not in (None, part.sha256):
                faults.append(
                    f"{grant.host} has sha256 {part.sha256}, the manifest wants {grant.sha256} for {grant.at}: "
                    "update the pin, or restore the files"
                )
            paths = {_below(grant.at, name): content for name, content in names.items()}
            wrong = [
                f"{grant.host}: the guest's path {path!a} {problem}: name it otherwise"
                for path in paths
                if (problem := path_problem(path))
            ]
            wrong += [
                f"{grant.host}: the path {path} is granted twice: leave one out" for path in paths if path in found
            ]
            faults += _shortened(wrong, grant)
            found.update(paths)
            parts.append(part)
        if len(found) > MOST:
            faults.append(f"it is granted {len(found)} files; at most {MOST} are: grant a smaller folder")
        faults += _beside(found, beside) if beside is not None else []
        if faults:
            raise FileFaults(faults)
        return self._made({path: found[path] for path in sorted(found)}, tuple(parts), seal) if found else NOTHING

    def _made(self, found: Mapping[str, tuple[str, bytes]], parts: tuple[Part, ...], seal: bool) -> Granted:
        digest = digest_of({path: sha256 for path, (sha256, _) in found.items()})
        contents = {path: data for path, (_, data) in found.items()}
        try:
            files = Files(contents)
            if not seal:
                return Granted(files, None, digest, dict(found.values()), parts)
            if digest not in self._sealed:
                self._sealed[digest] = Sealed(contents)
        except ValueError as error:
            raise FileFaults([f"its files do not fit together: {error}"]) from None
        except OSError as error:
            raise FileFaults([f"its files do not fit into memory ({error.strerror}): grant fewer"]) from None
        return Granted(NO_FILES, self._sealed[digest], digest, {}, parts)

    def _one(self, grant: FileGrant, limit: int) -> dict[str, tuple[str, bytes]]:
        """Digest and content of each file of one grant, by the file's name below the granted folder.

        A grant of a file has one, by an empty name.
        """
        faults: list[str] = []
        found: dict[str, tuple[str, bytes]] = {}
        left = limit
        for name, path in _files_at(grant.host, faults.append):
            try:
                found[name] = self._content(path, left, grant.host if name else None)
                left -= len(found[name][1])
            except FileFaults as error:  # noqa: PERF203 (all faults of all files)
                faults += error.faults
                if isinstance(error, _Over):
                    break
        if faults:
            raise FileFaults(_shortened(faults, grant))
        return {name: found[name] for name in sorted(found)}

    def _content(self, path: Path, most: int, inside: Path | None) -> tuple[str, bytes]:
        if path not in self._read:
            data = _read(path, most, inside)
            sha256 = hashlib.sha256(data).hexdigest()
            self._read[path] = sha256, self._contents.setdefault(sha256, data)
        if len(self._read[path][1]) > most:
            raise _Over(path)
        return self._read[path]


def _beside(granted: Iterable[str], grants: Grants) -> list[str]:
    """What is wrong with the paths that a guest has besides those of its granted files."""
    files = set(granted)
    folders = {folder for path in files for folder in _above(path)}
    faults = []
    for key, path in (
        ("body_file", grants.body_file),
        ("reply_file", grants.reply_file),
        ("scratch_path", grants.scratch_path if grants.scratch else ""),
        ("the file of calls", grants.calls_file),
    ):
        files_above = files.intersection(_above(path))
        if path in files:
            faults.append(f"{key} {path} is a file of its own already: choose another path")
        elif path in folders and key != "scratch_path":
            faults.append(f"{key} {path} is a folder with files in it: choose another path")
        elif files_above:
            faults.append(f"{key} {path} lies below {files_above.pop()}, which is a file: choose another path")
        elif path and key != "scratch_path":
            files.add(path)
            folders.update(_above(path))
    return faults


def _above(path: str) -> list[str]:
    """The folders that a path lies in, without the root."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts))]


def opens_files_by(imports: Iterable[tuple[str, str]]) -> str:
    """By which import, of these (module, name), a module opens files; empty for none."""
    for module, name in imports:
        if name == "path_open" and module.startswith("wasi_"):
            return name
        if name == "[method]descriptor.open-at" and module.startswith("wasi:filesystem/types@"):
            return module
    return ""


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest for many files, by name: of what `sha256sum` prints for them in the order of their names."""
    lines = (f"{digests[name]}  {name}\n" for name in sorted(digests, key=os.fsencode))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def pin_of(path: Path, limit: int) -> str:
    """The digest that the manifest would pin a file or folder by. Raises `FileFaults`."""
    return Shelf().granted([FileGrant("/granted", path)], limit, seal=False).parts[0].sha256


def watched(path: Path) -> Iterator[Path]:
    """The file, or the folder and all that is in it. When what is granted changes, one of these has changed."""
    yield path
    if path.is_dir():
        for _, found, _ in _walk(path, lambda _: None):
            yield found


def _shortened(faults: list[str], grant: FileGrant) -> list[str]:
    more = len(faults) - _SHOWN_FAULTS
    return faults if more <= 0 else [*faults[:_SHOWN_FAULTS], f"{grant.host}: and {more} more like these"]


def _pin(names: Mapping[str, tuple[str, bytes]]) -> str:
    if "" in names:
        return names[""][0]
    return digest_of({name: sha256 for name, (sha256, _) in names.items()})


def _below(at: str, name: str) -> str:
    return f"{at.rstrip('/')}/{name}" if name else at


class _Over(FileFaults):
    """The files are more bytes than the guest may have."""

    def __init__(self, path: Path) -> None:
        super().__init__([f"{path} is over limits.files, with the files before it: grant less, or raise the limit"])


def _files_at(path: Path, refuse: Refuse) -> Iterator[tuple[str, Path]]:
    """Names and paths: of the file itself with an empty name, or of the files in a folder, named from there."""
    if not path.is_dir():
        yield "", path
        return
    for name, found, is_folder in _walk(path, refuse):
        if not is_folder:
            yield name, found


def _walk(root: Path, refuse: Refuse) -> Iterator[tuple[str, Path, bool]]:
    """Everything below a folder: its name from there, its path, and whether it is a folder.

    Links are followed only to files inside the folder. Names that begin with two dots are passed over: Kubernetes keeps
    the states of a volume under such names, and the volume's links lead there.
    """
    real = os.path.realpath(root)
    left = [("", str(root), 0)]
    count = 0
    while left:
        above, folder, depth = left.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    count += 1
                    if count > MOST:
                        refuse(f"{root} has more than {MOST} files and folders: grant a smaller folder")
                        return
                    if entry.name.startswith(".."):
                        continue
                    name = f"{above}/{entry.name}" if above else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if depth == DEPTH:
                            refuse(f"{entry.path} is more than {DEPTH} folders deep: grant a folder further down")
                            continue
                        left.append((name, entry.path, depth + 1))
                        yield name, Path(entry.path), True
                    elif problem := _problem(entry, real):
                        refuse(f"{entry.path} {problem}")
                    else:
                        yield name, Path(entry.path), False
        except OSError as error:
            refuse(f"{folder} cannot be read ({error.strerror}): check its permissions")


def _problem(entry: os.DirEntry[str], root: str) -> str:
    """Why something in a granted folder, which is no folder itself, cannot be granted; empty where it can."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not target.startswith(root.rstrip("/") + "/"):
            return "is a link out of the granted folder: put the file itself there, or grant it by a name of its own"
        if os.path.isdir(target):
            return "is a link to a folder, which is not followed: grant that folder by a name of its own"
        if not os.path.exists(target):
            return "is a link to nothing: take it away"
    if not entry.is_file():
        return "is no file (a pipe, socket or device): take it away"
    return ""


def _read(path: Path, most: int, inside: Path | None) -> bytes:
    """A file's bytes, at most `most`. Raises `FileFaults`, `_Over`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a device may do something
            raise FileFaults([f"{path} is no file (a pipe, socket or device): name one"])
        with contextlib.closing(open(path, "rb", buffering=0, opener=_opener)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or (inside is not None and not _is_inside(file.fileno(), inside)):
                raise FileFaults([f"{path} is another file than a moment ago: leave it alone while it is read"])
            if found.st_size > most:
                raise _Over(path)
            pieces, size = [], 0
            while size <= found.st_size and (piece := file.read(found.st_size + 1 - size)):
                pieces.append(piece)
                size += len(piece)
    except OSError as error:
        raise FileFaults([f"{path} cannot be read ({error.strerror}): correct the path, or its permissions"]) from None
    if size != found.st_size:
        raise FileFaults([f"{path} was written to while it was read: replace it whole, and try again"])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _is_inside(fd: int, folder: Path) -> bool:
    """Whether an open file lies in the folder, wherever links have come to lead meanwhile."""
    return os.readlink(f"/proc/self/fd/{fd}").startswith(os.path.realpath(folder).rstrip("/") + "/")
