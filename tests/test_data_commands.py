"""Words of the commands that make what a coach is trained on: every flag is taken, and what is misspelt or missing is named."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from mm_adapter.cli import app, main
from mm_adapter.cli.flags import EncoderFlags
from mm_adapter.cli.poses import MotionFlags

A, B, C, D = (Path(name) for name in "ABCD")
RETRY = {"max_bad": 0.5, "retry_bad": True}
MOTION = MotionFlags(
    unit="cmu",
    scale=0.001,
    up="y-down",
    fps=60.0,
    joint_map=C,
    person=r"-(\d+)",
    people=D,
    split_by="sequence",
    test_share=0.0,
)


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (
            "miniature A --task cot-afa --takes 3 --seed -1 --workers 4 --no-videos",
            {"out": A, "task": "cot-afa", "takes": 3, "seed": -1, "workers": 4, "no_videos": True},
        ),
        ("miniature A --takes 3 --takes 5", {"out": A, "takes": 5}),
        ("language-model A", {"out": A}),
        (
            "data validate A --json B --tuples C --uids D --all-poses",
            {"source": A, "json": B, "tuples": C, "uids": D, "all_poses": True},
        ),
        ("data stats A --json B", {"source": A, "json": B}),
        ("data label-agreement A B --examples 0 --json C", {"labels": A, "reference": B, "examples": 0, "json": C}),
        ("data why A take/person/0~1", {"tuples": A, "tuple_id": "take/person/0~1"}),
        ("data review A --decisions B --port 80", {"tuples": A, "decisions": B, "port": 80}),
        (
            "data import-expertaf A B C D --max-drop-rate 0.1 --workers 1",
            {"source": A, "train": B, "test": C, "out": D, "max_drop_rate": 0.1, "workers": 1},
        ),
        ("data export-llava A B --split test", {"tuples": A, "out": B, "split": "test"}),
        ("data vary A B --experts unaligned", {"tuples": A, "out": B, "experts": "unaligned"}),
        (
            "features extract A B --videos C --encoder 1B --weights D --random-weights --frames 4 --image-size 28 --output pooled "
            "--grid 2 --dtype float16 --attention flash --compile --decoder torchcodec --batch-size 1 --workers 3 --max-bad 0.5 --retry-bad",
            {
                "source": A,
                "out": B,
                "videos": C,
                "encoder": EncoderFlags("1B", D, True, 4, 28),
                "output": "pooled",
                "grid": 2,
                "dtype": "float16",
                "attention": "flash",
                "compile": True,
                "decoder": "torchcodec",
                "batch_size": 1,
                "workers": 3,
                **RETRY,
            },
        ),
        (
            "features import-omnivore A B C --tokens 2 --max-bad 0.5 --retry-bad",
            {"tuples": A, "release": B, "out": C, "tokens": 2, **RETRY},
        ),
        (
            "features import-arrays A B C --name 'Video Swin' --tokens 2 --view ego --max-bad 0.5 --retry-bad",
            {"source": A, "arrays": B, "out": C, "name": "Video Swin", "tokens": 2, "view": "ego", **RETRY},
        ),
        (
            "features from-poses A B --frames 4 --statistics-of C D --max-bad 0.5",
            {"source": A, "out": B, "frames": 4, "statistics_of": [C, D], "max_bad": 0.5},
        ),
        ("features ls A --clips", {"store": A, "clips": True}),
        ("features verify A", {"store": A}),
        ("features merge A B C D", {"out": A, "stores": [B, C, D]}),
        (
            "poses import A B --format bvh --unit cmu --scale 1e-3 --up y-down --fps 60 --joint-map C --person='-(\\d+)' --people D "
            "--split-by sequence --test-share 0 --workers 8",
            {"source": A, "out": B, "format": "bvh", "motion": MOTION, "workers": 8},
        ),
        (
            "poses export A B --tokenizer C --item x --against D --fps 2.5",
            {"source": A, "out": B, "tokenizer": C, "item": "x", "against": D, "fps": 2.5},
        ),
        ("tokenizer encode A B C --frames 3", {"source": A, "tokenizer": B, "out": C, "frames": 3}),
        ("tokenizer decode A B C", {"codes": A, "tokenizer": B, "out": C}),
        (
            "tokenizer eval A B C --split train --max-frames 20",
            {"tokenizer": A, "poses": B, "out": C, "split": "train", "max_frames": 20},
        ),
        ("tokenizer import-pct A B", {"checkpoint": A, "out": B}),
        ("tokenizer export-pct A B --prefix ''", {"tokenizer": A, "out": B, "prefix": ""}),
    ],
)
def test_every_flag_is_taken(line: str, arguments: dict[str, Any]) -> None:
    _, bound, _ = app.parse_args(shlex.split(line))
    assert dict(bound.arguments) == arguments


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("miniature OUT --task dives", "choose from expertaf, nae, cot-afa, desccoach, table"),
        ("miniature OUT --videos", "--no-videos"),
        ("data statz SOURCE", "stats"),
        ("data vary TUPLES OUT", "--experts"),
        ("features extract SOURCE OUT --no-compile", "--compile"),
        ("features import-arrays SOURCE ARRAYS OUT", "--name"),
        ("features merge OUT", "--stores"),
        ("poses import SOURCE OUT", "--format"),
        ("poses import SOURCE OUT --format bvh --joints-map MAP", "--joint-map"),
        ("tokenizer encode SOURCE TOKENIZER", "--out"),
        ("tokenizer eval TOKENIZER POSES OUT --split val", 'Choose from: "train", "test"'),
        ("data validate SOURCE --tuples nosuch", "nosuch holds no finished items"),
        ("data stats nosuch", "nosuch does not exist"),
        ("data why nosuch x", "nosuch holds no finished items"),
        ("data label-agreement nosuch nosuch", "nosuch is missing"),
        ("data review nosuch", "nosuch holds no finished items"),
        ("features ls nosuch", "nosuch holds no finished feature store"),
        ("features extract nosuch OUT", "nosuch is neither a folder of items nor a table of clips"),
        ("tokenizer decode nosuch nosuch OUT", "config.json is missing"),
        ("poses export nosuch.npy OUT.npy", "nosuch.npy does not exist"),
        ("poses import SOURCE OUT --format dataset --unit cm --fps 30", "leave out unit, fps."),
    ],
)
def test_what_is_misspelt_or_missing_is_named(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("mm-coach: ") and message in printed and "Traceback" not in printed
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name != "begun.json"] == []
