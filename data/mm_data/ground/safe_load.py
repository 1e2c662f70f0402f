"""Loading files that somebody else made: nothing is executed, nothing outside the folder is opened, sizes are checked first."""

import ast
import io
import json
import pickle
import pickletools
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

MAX_JSON_BYTES = 2**30
"""Larger JSON files are refused: parsed, they would need about eight times their size in memory."""

MAX_ARRAY_BYTES = 2**33
"""Larger arrays are refused before memory is reserved for them."""

MAX_PICKLE_BYTES = 2**28
"""Larger pickles are refused."""

_PLAIN_PICKLE = {
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}


def read_json(path: Path, hint: str) -> Any:
    """Parses a JSON file.

    Args:
        path: The file.
        hint: What the file is for and how to get it; ends the message when it is missing.

    Returns:
        The content.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: The file is too large, or is not JSON (a truncated download, usually).
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {hint}")
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(
            f"{path}: {size:,} bytes; JSON files above {MAX_JSON_BYTES:,} bytes are refused. "
            "No file of this kind is that large: download it again."
        )
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply to be an annotation file; download it again.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text at byte {error.start} of {size}; download it again.") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON at character {error.pos} of {size} bytes; download it again."
        ) from error


def load_array(path: Path, mmap: bool = False) -> np.ndarray:
    """Opens a ``.npy`` file without unpickling, after its header was checked against the bytes that are there.

    Args:
        path: The file.
        mmap: Whether to map the file instead of reading it.

    Returns:
        The array.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: Not a NumPy file, an array of Python objects, more data claimed than there are bytes, or too large.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: an array was expected there.")
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
        except ValueError as error:
            raise ValueError(f"{path}: not a NumPy array file ({error}). Save it again with numpy.save.") from error
        there = path.stat().st_size - file.tell()
    if dtype.hasobject:
        raise ValueError(f"{path}: holds Python objects, which would have to be unpickled. Save it as a plain array.")
    claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if claimed > there or claimed > MAX_ARRAY_BYTES:
        raise ValueError(
            f"{path}: claims {claimed:,} bytes (shape {shape}, {dtype}), "
            f"has {there:,} and may have {MAX_ARRAY_BYTES:,}. The file is truncated or forged: make it again."
        )
    return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)


def load_archive(path: Path) -> dict[str, np.ndarray]:
    """Opens a ``.npz`` file without unpickling, after the sizes it claims were checked.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: Not an archive of arrays, an array of Python objects, or too large.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: an archive of arrays was expected there.")
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > MAX_ARRAY_BYTES:
            raise ValueError(f"claims {claimed:,} bytes and may have {MAX_ARRAY_BYTES:,}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a readable archive of plain arrays ({error}). Make it with numpy.savez."
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) in _PLAIN_PICKLE:
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"asks for {module_name}.{global_name}")


def load_plain_pickle(path: Path) -> Any:
    """Unpickles containers, strings, numbers and NumPy scalars, and nothing else; NumPy scalars become Python's.

    Published annotation pickles are Python 2's, so bytes are read as Latin-1. Keys such as ``(numpy.int64(1), 7)`` come
    out as ``(1, 7)``: releases disagree about the type of the same key.

    Args:
        path: The file.

    Returns:
        The content.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: The file asks for any class or function, or is not a pickle.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: an annotation pickle was expected there.")
    size = path.stat().st_size
    if size > MAX_PICKLE_BYTES:
        raise ValueError(f"{path}: refused, {size:,} bytes; annotation pickles have at most {MAX_PICKLE_BYTES:,}.")
    try:
        content = path.read_bytes()
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > size:
                raise pickle.UnpicklingError(f"claims {argument:,} remembered objects in {size:,} bytes")
        return _plain(_PlainUnpickler(io.BytesIO(content), encoding="latin1").load())
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        LookupError,
        ValueError,
        TypeError,
        EOFError,
        AttributeError,
        ImportError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ValueError(
            f"{path}: refused, {error}. Only lists, tuples, dictionaries, strings and numbers are unpickled, because a "
            "pickle can run any code. If you trust the file, convert it to JSON yourself."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def parse_frame_range(text: str, where: str) -> tuple[int, int]:
    """Reads ``"(30, 150)"`` or ``"[30, 150]"`` as frames ``[start, stop)`` without evaluating it.

    Args:
        text: The range as published.
        where: File and sample, for the error.

    Returns:
        First frame and end.

    Raises:
        ValueError: Anything but two integers with 0 <= start < stop, both within a day of video.
    """
    try:
        start, stop = ast.literal_eval(text) if isinstance(text, str) and len(text) <= 64 else (None, None)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        start, stop = None, None
    if type(start) is not int or type(stop) is not int or not 0 <= start < stop <= MAX_FRAME:
        raise ValueError(f"{where}: {str(text)[:64]!r} is not a frame range such as '(30, 150)'.")
    return start, stop


MAX_FRAME = 24 * 3600 * 30
"""A day of video at 30 fps; larger frame numbers are forged or corrupt."""


def is_path_component(name: str) -> bool:
    """Says whether a name can stand alone as a file or folder: no separators, not a step upwards."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def join_inside(root_dir: str, relative: str, where: str) -> str:
    """Joins two paths of a metadata file, which must stay inside the data set's folder.

    Args:
        root_dir: Folder below the data set's.
        relative: Path below that folder.
        where: File and entry, for the error.

    Returns:
        The joined path.

    Raises:
        ValueError: The result is absolute or climbs out.
    """
    path = PurePosixPath(root_dir) / relative
    elsewhere = PureWindowsPath(root_dir) / relative
    if path.is_absolute() or elsewhere.drive or elsewhere.root or ".." in elsewhere.parts:
        raise ValueError(f"{where}: path {str(path)!r} leaves the data set's folder; the file has been tampered with.")
    return str(path)
