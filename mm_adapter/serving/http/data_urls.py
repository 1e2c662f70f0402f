"""Files inside a request: ``data:`` addresses in base64."""

import base64
import re
from typing import Any
from urllib.parse import unquote

_HEAD = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_STRANGE = re.compile(r"[^A-Za-z0-9+/=]")
_AFTER_THE_END = re.compile(r"=+(?=[^=])")


def decode_data_url(url: Any, what: str) -> bytes:
    """Decodes a ``data:`` address in base64, which may be broken into lines.

    Args:
        url: The address.
        what: Names the file in errors, such as "The exo video".

    Returns:
        The bytes.

    Raises:
        ValueError: It is no such address, or its base64 is broken; says where.
    """
    if not isinstance(url, str) or url[:5].lower() != "data:":
        raise ValueError(
            "Give the file itself as a data: address in base64 (data:video/mp4;base64,...); other addresses are not fetched."
        )
    head = _HEAD.match(url)
    if head is None:
        raise ValueError(f"{what}'s data: address is not in base64; write data:video/mp4;base64,... .")
    written = url[head.end() :]
    if "%" in written:
        written = unquote(written)
    written = written.replace("\r", "").replace("\n", "")
    try:
        return base64.b64decode(written, validate=True)
    except ValueError as error:
        raise ValueError(f"{what}'s base64 {_problem(written)}") from error


def _problem(written: str) -> str:
    if strange := _STRANGE.search(written):
        at = f"holds {strange.group()!r} at character {strange.start()}"
        if strange.group() in "-_":
            return f"{at}: that is the URL-safe alphabet; write + for - and / for _."
        return f"{at}; it is written with letters, digits, +, / and =."
    if end := _AFTER_THE_END.search(written):
        return f"goes on after its end (= at character {end.start()}); send one file."
    return f"has {len(written)} characters, no multiple of 4: it is cut off, or lacks = at its end."
