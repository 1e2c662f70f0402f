"""Chat about one's own clip: what the coach sees, what it shows, what is refused."""

import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.table import Table
from tiny_coach import TinyCoach, dataset, launch, perturb, poses_after, remarks_of, trainer
from transformers import TrainerControl

from mm_adapter.checkpoint.coach import SavedCoach
from mm_adapter.cli import main as mm_coach
from mm_adapter.cli.console import ConsoleReport, plain_console, stage_progress
from mm_adapter.cli.quiet import held_back, without_warnings
from mm_adapter.inference.chat import ChatSession, Demonstration
from mm_adapter.inference.coach import Coach
from mm_adapter.inference.experts import ExpertSearch
from mm_adapter.inference.own_clip import Stretch
from mm_adapter.model.grammar import WordsOnly
from mm_adapter.samples.clip_stores import LEARNER, JoinedPoses
from mm_adapter.training.held_out_answers import SampleAnswers
from mm_data.tasks.coaching import ASK_COMMENTARY, demonstration_prompt
from mm_data.tasks.gallery import prior_prompts
from mm_tokenizers import numpy_codec


def session_of(coach: TinyCoach, own: str) -> tuple[ChatSession, JoinedPoses]:
    perturb(coach)
    poses = JoinedPoses(coach.codes, {LEARNER: coach.codes[own]})
    assert coach.features is not None
    store = coach.features

    class Features:
        manifest = store.manifest

        def get(self, clip: str, view: str) -> np.ndarray:
            return store.get(own if clip == LEARNER else clip, view)

        def missing(self, clips: Iterable[str]) -> list[str]:
            return []

    return ChatSession(Coach(coach.model.eval(), coach.processor, poses, Features()), poses), poses  # type: ignore[arg-type]


def test_a_conversation_is_what_training_saw(coach: TinyCoach) -> None:
    clip = coach.test[0].learner.clip_id
    session, poses = session_of(coach, clip)
    plain = Coach(coach.model, coach.processor, coach.codes, coach.features)
    remark = "".join(session.ask()).strip()
    assert remark == remarks_of(plain, [clip], 128)[0]
    assert session.wants_to_see("Show me!") and session.wants_to_see("please show me")
    assert not session.wants_to_see("Why did you show my left arm lower?")
    shown = session.show()
    np.testing.assert_array_equal(shown.codes, poses_after(plain, [clip], [remark])[0])
    prompt = demonstration_prompt(LEARNER, remark)
    assert session.messages[:4] == prompt and session.messages[4]["content"][0]["type"] == "pose"
    answer = "".join(session.ask("What about my left arm?"))
    rendered, clips = coach.processor.render(session.messages, poses.__getitem__)
    assert (
        clips == {"ego": [LEARNER], "exo": [LEARNER]}
        and len(rendered) == 7
        and rendered[-1]["content"] == answer.strip()
    )


def test_a_reader_that_leaves_ends_the_generation(coach: TinyCoach, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it leaves: the thread has ended then, long before the limit, and the next answer is the same as ever."""
    session, _ = session_of(coach, coach.test[0].learner.clip_id)
    limit, steps = 2000, 0
    stream, never = Coach.stream, coach.model.config.first_pose_id
    monkeypatch.setattr(type(coach.processor), "end_of_turn_id", never)  # so that an answer is as long as it may be
    monkeypatch.setattr(Coach, "stream", lambda *arguments: stream(*arguments, max_new_tokens=limit))
    mask = WordsOnly.__call__

    def counted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return mask(*arguments)

    monkeypatch.setattr(WordsOnly, "__call__", counted)
    before = threading.active_count()
    first = []
    for leave in ("close", "throw"):
        answer = session.ask()
        first.append(next(answer))
        if leave == "close":
            answer.close()
        else:
            with pytest.raises(KeyboardInterrupt):
                answer.throw(KeyboardInterrupt)
        assert threading.active_count() == before and 0 < steps < limit / 2
        assert len(session.messages) == 1, "a broken answer is no part of the conversation"
    assert first[0] == first[1]


def test_a_demonstration_needs_a_remark(coach: TinyCoach) -> None:
    session, _ = session_of(coach, coach.test[0].learner.clip_id)
    assert not session.wants_to_see("show me")
    with pytest.raises(ValueError, match="Ask what to improve first"):
        session.show()


@pytest.fixture
def asked(coach: TinyCoach, tmp_path: Path) -> list[str]:
    """A command that lacks its poses."""
    perturb(coach)
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, {}).save_pretrained(tmp_path / "coach")
    take = next(iter(sorted((coach.folder / "miniature" / "takes").glob("*/frame_aligned_videos"))))
    videos = ["--exo", take / "cam01.mp4", "--ego", next(take.glob("aria*.mp4"))]
    return [str(part) for part in ("chat", tmp_path / "coach", *videos, "--save", tmp_path / "saved")]


def test_the_command_from_videos_to_pictures(
    coach: TinyCoach,
    asked: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poses = sorted((coach.folder / "tuples" / "poses").glob("*.npy"))[0]
    folder = coach.folder
    gallery = ["--gallery", folder / "tuples", "--codes", folder / "pose_codes", "--features", folder / "features"]
    options = [*map(str, gallery), "--pose", str(poses), "--stop", "1.5", "--ask", ASK_COMMENTARY, "show me"]
    seen: list[Demonstration] = []
    show = ChatSession.show
    monkeypatch.setattr(ChatSession, "show", lambda session: seen.append(show(session)) or seen[-1])
    assert mm_coach([*asked, *options]) == 0
    shown = capsys.readouterr().out
    assert "experts who do it so" in shown and "demonstration-1-expert-1.mp4" in shown
    names = {path.name.removeprefix("demonstration-1") for path in (tmp_path / "saved").iterdir()}
    experts = {f"-expert-{place}.mp4" for place in (1, 2, 3)}
    assert names == {".bvh", ".mp4", ".npy", ".png", *experts}
    joints = np.load(tmp_path / "saved" / "demonstration-1.npy")
    np.testing.assert_allclose(joints, numpy_codec(coach.pose_tokenizer)[1](seen[0].codes), atol=1e-6)
    assert mm_coach([*asked, *options]) == 0
    assert (tmp_path / "saved" / "demonstration-2.png").is_file(), "nothing is written over"


def test_text_and_paths_are_printed_as_they_are(
    coach: TinyCoach,
    asked: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Brackets are no styles of the terminal, whoever wrote them, and names between colons are no pictures."""

    def ask(session: ChatSession, question: str) -> Iterable[str]:
        session.messages = [*session.messages, *said("user", question), *said("assistant", "x")]
        yield from ("Keep [/b]", " :ok: [red]", " up.")

    def said(role: str, text: str) -> list[Any]:
        return [{"role": role, "content": [{"type": "text", "text": text}]}]

    monkeypatch.setattr(ChatSession, "ask", ask)
    poses = sorted((coach.folder / "tuples" / "poses").glob("*.npy"))[0]
    save = tmp_path / "out [final] :100:"
    questions = ["is [/this] :ok: [bold]good[/bold]?", "show me"]
    options = ["--pose", str(poses), "--stop", "1.5", "--save", str(save), "--ask", *questions]
    assert mm_coach([*asked[:-2], *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "you   is [/this] :ok: [bold]good[/bold]?" in lines
    assert "coach Keep [/b] :ok: [red] up." in lines
    assert f"coach the corrected poses over yours: {save}/demonstration-1.png, .mp4, .npy, .bvh" in lines


def test_tables_and_progress_bars_print_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("a [/heading]", title="runs [final]")
    table.add_row("an [/answer] :ok:")
    plain_console().print(table)
    with ConsoleReport().progress("labelling with model [/x] :ok:", 1) as progress:
        progress(1)
    with stage_progress() as progress:
        progress("run [final]", 1, 1)
    shown = capsys.readouterr().out
    for text in ("a [/heading]", "runs [final]", "an [/answer] :ok:", "model [/x] :ok:", "run [final]"):
        assert text in shown


def test_remarks_of_training_are_printed_as_they_are(
    coach: TinyCoach, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that writes brackets must not end its own training."""
    monkeypatch.setattr(Coach, "answer_words", lambda *_, **__: ["keep [/b] low"])
    data = dataset(coach, ["commentary"])
    answers = SampleAnswers(trainer(coach, tmp_path, data), data, 1)
    state: Any = SimpleNamespace(global_step=3, is_world_process_zero=True)
    answers.on_evaluate(answers.trainer.args, state, TrainerControl())
    assert "keep [/b] low" in capsys.readouterr().out


def test_the_corrected_pose_comes_before_the_search_for_experts(
    coach: TinyCoach,
    asked: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what the search takes is computed once in a conversation."""
    before: list[str] = []
    prepare, priors = ExpertSearch.prepare, []

    def waiting(search: ExpertSearch, *progress: Any) -> None:
        before.append(capsys.readouterr().out)
        assert (tmp_path / "saved" / "demonstration-1.png").is_file()
        prepare(search, *progress)

    def counted(*arguments: Any) -> Any:
        priors.append(arguments)
        return prior_prompts(*arguments)

    monkeypatch.setattr(ExpertSearch, "prepare", waiting)
    monkeypatch.setattr("mm_adapter.inference.experts.prior_prompts", counted)
    poses = sorted((coach.folder / "tuples" / "poses").glob("*.npy"))[0]
    folder = coach.folder
    gallery = ["--gallery", folder / "tuples", "--codes", folder / "pose_codes", "--features", folder / "features"]
    questions = ["--ask", ASK_COMMENTARY, "show me", "show me"]
    assert mm_coach([*asked, *map(str, gallery), "--pose", str(poses), "--stop", "1.5", *questions]) == 0
    assert "the corrected poses over yours" in before[0] and "experts" not in before[0]
    assert len(priors) == 1
    shown = "".join([*before, capsys.readouterr().out])
    assert "how likely each expert is anyway" in shown and shown.count("experts who do it so") == 2


@pytest.mark.parametrize("end", ["quit", "exit", "q", "/quit", "/exit", "Quit!", ":q", None])
def test_words_that_are_commands(
    coach: TinyCoach,
    asked: list[str],
    end: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    questions: list[str] = []
    monkeypatch.setattr(ChatSession, "ask", lambda session, question: questions.append(question) or iter(["Good."]))
    poses = sorted((coach.folder / "tuples" / "poses").glob("*.npy"))[0]
    lines = ["help", "?", "/help", "", "help me with my arms", *([] if end is None else [end, "never asked"])]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert mm_coach([*asked, "--pose", str(poses), "--stop", "1.5"]) == 0
    assert questions == [ASK_COMMENTARY, "help me with my arms"]
    assert capsys.readouterr().out.count("quit, exit or Ctrl-D ends.") == 3


@pytest.mark.parametrize(
    ("flag", "path", "message"),
    [
        ("coach", "nowhere/coach", "The coach nowhere/coach does not exist"),
        ("coach", "/nowhere", "The coach /nowhere does not exist"),
        ("coach", "EMPTY", "is no complete coach: it holds no complete.json"),
        ("coach", "FILE", "is a file; give a run's coach folder"),
        ("--exo", "no.mp4", "The exo video no.mp4 does not exist."),
        ("--ego", "no.mp4", "The ego video no.mp4 does not exist."),
        ("--exo", "EMPTY", "is a folder; give the file."),
        ("--pose", "no.npy", "The pose file no.npy does not exist."),
        ("--pose-model", "none.task", "Pose model none.task does not exist"),
        ("--weights", "none.bin", "weights none.bin do not exist"),
        ("--gallery", "none", "The gallery none does not exist."),
        ("--gallery", "FILE", "is a file; give the folder."),
        ("--codes", "none", "The folder of pose codes none does not exist."),
        ("--features", "none", "The feature store none does not exist."),
        ("--save", "FILE", "is a file; name a folder for the demonstrations."),
    ],
)
def test_a_wrong_path_is_said_before_anything_is_loaded(
    tmp_path: Path,
    flag: str,
    path: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_module("mm_adapter.cli.chat"), "_begin", None)  # loads torch
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "coach").mkdir()
    (tmp_path / "a_file").touch()
    (tmp_path / "coach" / "complete.json").touch()
    path = {"EMPTY": "empty", "FILE": "a_file"}.get(path, path)
    command = ["chat", path] if flag == "coach" else ["chat", "coach", flag, path]
    assert mm_coach([*command, "--ask", "?"]) == 2
    assert message in capsys.readouterr().err


def test_chat_starts_without_torch() -> None:
    code = "import sys; from mm_adapter.cli import main; main(['chat', 'coach', '--exo', 'no.mp4']); sys.exit('torch' in sys.modules)"
    assert "no.mp4 does not exist" in launch(sys.executable, "-c", code).stderr


@pytest.mark.parametrize(("error", "shown"), [(RuntimeError, True), (ValueError, False), (None, False)])
def test_what_libraries_say_is_shown_where_something_breaks(
    capfd: pytest.CaptureFixture[str], error: type[Exception] | None, shown: bool
) -> None:
    def work() -> None:
        with without_warnings(), held_back():
            os.write(2, b"forty lines of a library\n")
            logging.getLogger("bitsandbytes").warning("no kernels")
            warnings.warn("deprecated", stacklevel=1)
            print("ours")
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    os.write(2, b"after\n")
    out, err = capfd.readouterr()
    assert out == "ours\n" and err == ("forty lines of a library\n" if shown else "") + "after\n"
    assert not logging.root.manager.disable


def test_preparing_a_clip_says_nothing_of_others(coach: TinyCoach, asked: list[str]) -> None:
    poses = sorted((coach.folder / "tuples" / "poses").glob("*.npy"))[0]
    done = launch("mm-coach", *asked, "--pose", str(poses), "--stop", "1.5", "--ask", ASK_COMMENTARY, fresh=True)
    assert not done.stderr and done.stdout.startswith(f"you   {ASK_COMMENTARY}\ncoach ")


def test_a_coach_that_sees_no_poses_needs_none(
    tiny: Path, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coach = TinyCoach(tiny, pose_form="none")
    perturb(coach)
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, {}).save_pretrained(tmp_path / "blind")
    asked[1] = str(tmp_path / "blind")
    questions = ["--stop", "1.5", "--ask", ASK_COMMENTARY, "show me"]
    poses = sorted((tiny / "tuples" / "poses").glob("*.npy"))[0]
    for further in ([], ["--pose", str(poses)]):  # given all the same, they are drawn beneath the correction
        assert mm_coach([*asked, *further, *questions]) == 0, capsys.readouterr().err
    assert "demonstration-2.png" in capsys.readouterr().out


def test_a_coach_that_comments_alone_shows_nothing(
    coach: TinyCoach, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"coach": {"formats": ["commentary"]}}
    SavedCoach(coach.model, coach.processor, coach.pose_tokenizer, record).save_pretrained(tmp_path / "coach")
    poses = sorted((coach.folder / "tuples" / "poses").glob("*.npy"))[0]
    assert mm_coach([*asked, "--pose", str(poses), "--stop", "1.5", "--ask", ASK_COMMENTARY, "show me"]) == 0
    assert "trained to comment alone" in capsys.readouterr().out and not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Give the learner's poses (--pose FILE), or a model"),
        (["--pose-model", "none.task"], "Pose model none.task does not exist"),
        (["--stop", "900"], "is no part of the videos"),
        (["--pose", "POSES", "--gallery", "TUPLES"], "--gallery needs the --codes"),
        (["--pose", "POSES", "--gallery", "TUPLES", "--codes", "CODES"], "--gallery needs the --features"),
        (["--start", "1", "--stop", "0.5"], "is no part of the videos"),
    ],
)
def test_what_chat_refuses(
    coach: TinyCoach, asked: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = coach.folder
    poses = sorted((folder / "tuples" / "poses").glob("*.npy"))[0]
    given = {"POSES": poses, "TUPLES": folder / "tuples", "CODES": folder / "pose_codes"}
    options = [str(given.get(option, option)) for option in options]
    asked = [*asked, "--stop", "1.5"] if "--stop" not in options else asked
    assert mm_coach([*asked, *options, "--ask", ASK_COMMENTARY]) == 2
    assert message in capsys.readouterr().err


def test_long_videos_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mm_adapter.inference.own_clip.read_duration", lambda path: 7200.0)
    with pytest.raises(ValueError, match="7200 s are more than 60 s"):
        Stretch.of({"exo": Path("long.mp4")}, 0.0, None)
