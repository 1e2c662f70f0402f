"""Things of one's own by ``module:NAME``: tasks and suites that live outside this project."""

import pkgutil
from typing import Any


def import_own(name: str, what: str) -> Any:
    """Imports ``module:NAME``.

    Args:
        name: ``module:NAME``.
        what: What is imported, for the error.

    Returns:
        The thing.

    Raises:
        ValueError: It cannot be imported.
    """
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        module = name.partition(":")[0]
        raise ValueError(
            f"{what} {name!r} cannot be imported: {error}. Put the folder of {module}.py on PYTHONPATH."
        ) from error
