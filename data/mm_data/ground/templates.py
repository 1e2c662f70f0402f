"""Pages and cards from Jinja templates that lie beside the code; what is filled into HTML is text, never markup."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def fill_template(package: str, name: str, **values: Any) -> str:
    """Fills a template of a package, which may import other templates of the same package.

    Args:
        package: Package that holds the template, such as ``mm_eval``.
        name: Path of the template inside the package, such as ``pages/report.html``.
        **values: Values by the names that the template uses; a name without a value is an error.

    Returns:
        The page; in HTML every value is escaped.
    """
    return _environment(package).get_template(name).render(values)


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {}  # keys stay in their order, which is the order on the page
    return environment
