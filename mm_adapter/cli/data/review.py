"""`mm-coach data review`: the page on which people look at test tuples."""

from pathlib import Path


def review(tuples: Path, *, decisions: Path | None = None, port: int = 8765) -> None:
    """Open a page on this machine to accept, fix or reject test tuples, until it is interrupted.

    Args:
        tuples: Tuple folder.
        decisions: Append-only file that reviewers share; by default TUPLES/review.jsonl.
        port: Port of the page.
    """
    try:
        import uvicorn

        from mm_data.tuples.review.decisions import REVIEW
        from mm_data.tuples.review.server import LOOPBACK, review_app
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.name} is missing: pip install 'mm-coach[review]'.") from error
    if not 0 < port < 65536:
        raise ValueError(f"--port is {port}; ports are 1 to 65535.")
    decisions = decisions or tuples / REVIEW
    page = review_app(tuples, decisions)
    address = f"http://{LOOPBACK[0]}:{port}"
    print(f"{address}  (this machine only; Ctrl-C ends it)\ndecisions go to {decisions}", flush=True)
    uvicorn.run(page, host=LOOPBACK[0], port=port, log_level="warning")
