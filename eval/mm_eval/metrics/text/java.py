"""pycocoevalcap's two Java programs: the PTB tokenizer and METEOR 1.5, started with a locale of their own."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mm_eval.metrics.text.corpus import NotComputed, needing

METEOR_STATISTICS = 23
# Under another locale METEOR prints decimal commas. The options are arguments, not JAVA_TOOL_OPTIONS, which every Java
# program of the process would read and announce. A virtual machine that cannot begin says why among the answers, unless told otherwise.
_OPTIONS = (
    "-XX:+DisplayVMOutputToStderr",
    "-Duser.language=en",
    "-Duser.country=US",
    *(f"-D{stream}.encoding=UTF-8" for stream in ("file", "stdin", "stdout", "sun.stdout")),
)

_BEYOND_ADDRESSES = re.compile(r"[^\w/.+,:;=@~!$&'()*\\-]", re.ASCII)
"""What an address writes in another way or ends a path with: METEOR reads its jar by an address that it never decodes."""


def ptb_tokens(lines: Sequence[str]) -> list[str]:
    """Cuts lines into lower-case PTB tokens without punctuation.

    Args:
        lines: Texts without line breaks.

    Returns:
        The tokens of each line, separated by blanks.

    Raises:
        NotComputed: Java or pycocoevalcap is missing, or the program failed.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS, STANFORD_CORENLP_3_4_1_JAR

    jar = _folder("tokenizer") / STANFORD_CORENLP_3_4_1_JAR
    tokenizer = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    done = subprocess.run(
        [_java(), *_OPTIONS, "-cp", str(jar), *tokenizer],
        input="\n".join(lines),
        capture_output=True,
        encoding="utf-8",
    )
    tokenized = done.stdout.split("\n")[: len(lines)]
    if done.returncode or len(tokenized) != len(lines):
        counts = f"{len(tokenized)} lines for {len(lines)} texts (status {done.returncode})"
        raise NotComputed(f"the PTB tokenizer returned {counts}: {_last_line(done.stderr)}")
    return [" ".join(word for word in line.split() if word not in PUNCTUATIONS) for line in tokenized]


def meteor_statistics(candidate: str, references: Sequence[str]) -> list[float]:
    """Asks METEOR 1.5 for the statistics of a segment.

    Args:
        candidate: Tokens of the candidate.
        references: Tokens of the true texts.

    Returns:
        The 23 numbers that the program prints.

    Raises:
        NotComputed: Java or pycocoevalcap is missing, or the program died.
    """
    program = _meteor(os.getpid())
    if program.process.poll() is not None:
        _meteor.cache_clear()
        program = _meteor(os.getpid())
    return program.statistics(candidate, references)


class _Meteor:
    """METEOR's Java program, which answers line by line."""

    def __init__(self) -> None:
        from pycocoevalcap.meteor.meteor import METEOR_JAR

        self.folder = _folder("meteor")
        command = [_java(), *_OPTIONS, "-Xmx2G", "-jar", METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  read when the program has died
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            encoding="utf-8",
        )

    def statistics(self, candidate: str, references: Sequence[str]) -> list[float]:
        """Asks for the statistics of one segment."""
        texts = [text.replace("|||", "").replace("  ", " ") for text in (*references, candidate)]
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(" ||| ".join(("SCORE", *texts)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        values = line.split()
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = []
        if len(numbers) != METEOR_STATISTICS:
            raise NotComputed(self._why(line))
        return numbers

    def _why(self, line: str) -> str:
        if line:
            return f"METEOR's Java program answered {line[:200]!r}"
        self.process.kill()
        self.process.wait()
        if characters := set(_BEYOND_ADDRESSES.findall(str(self.folder))):
            names = " and ".join(sorted("a blank" if character == " " else repr(character) for character in characters))
            return (
                f"METEOR's Java program cannot run from a path with {names}, which {self.folder} has; "
                "make the environment in a folder without"
            )
        self.errors.seek(0)
        return f"METEOR's Java program ended with status {self.process.returncode}: {_last_line(self.errors.read())}"


@cache
def _meteor(process: int) -> _Meteor:
    """Starts the program once per process, because loading its paraphrases takes seconds."""
    return _Meteor()


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise NotComputed("Java is not installed (apt-get install default-jre-headless)")
    return java


def _folder(part: str) -> Path:
    with needing("pycocoevalcap"):
        import pycocoevalcap
    return Path(pycocoevalcap.__path__[0]) / part


def _last_line(text: str) -> str:
    """Returns the last line that says something, which a place in Java's stack does not."""
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"Picked up|\s+(?:at|\.\.\.) ", line)]
    return lines[-1][:300] if lines else "it said nothing"
