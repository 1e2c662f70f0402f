"""Poses as BVH, arrays and drawings, and pose tokens that others wrote."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tiny_coach import TinyCoach

from mm_adapter.cli import main as mm_coach
from mm_adapter.samples.clip_stores import JointStore
from mm_data.poses.bvh import read_bvh
from mm_data.poses.bvh_writer import write_bvh
from mm_data.poses.drawing import SIZE, draw
from mm_data.poses.skeleton import JOINTS
from mm_tokenizers import numpy_codec
from mm_tokenizers.vocabulary import parse_text


@pytest.fixture
def joints(coach: TinyCoach) -> np.ndarray:
    clip = coach.test[0].learner.clip_id
    return JointStore.read(coach.folder / "tuples", 6)[clip][..., :3]


def test_bvh_reads_back(joints: np.ndarray, tmp_path: Path) -> None:
    write_bvh(tmp_path / "motion.bvh", joints, fps=5)
    motion = read_bvh(tmp_path / "motion.bvh")
    assert motion.fps == pytest.approx(5) and motion.names[0] == "hips"
    order = [motion.names.index(name) for name in JOINTS]
    x, y, z = np.moveaxis(motion.positions[:, order] / 100, -1, 0)
    np.testing.assert_allclose(np.stack([x, -z, y], -1), joints, atol=1e-6)
    with pytest.raises(ValueError, match=r"shape \(6, 16, 3\)"):
        write_bvh(tmp_path / "wrong.bvh", joints[:, :16], fps=5)


def test_drawings_show_both_motions(joints: np.ndarray, tmp_path: Path) -> None:
    motions = {"learner": (joints, "#c2410c"), "shown": (joints + 0.1, "#0a7d4f")}
    for ending in (".png", ".gif", ".mp4"):
        draw(tmp_path / f"motion{ending}", motions, fps=4)
    strip = np.asarray(Image.open(tmp_path / "motion.png"))
    assert strip.shape == (SIZE + 24, 6 * 2 * SIZE, 3)
    for colour in ((0xC2, 0x41, 0x0C), (0x0A, 0x7D, 0x4F)):
        assert (strip == colour).all(-1).sum() > 1000
    assert getattr(Image.open(tmp_path / "motion.gif"), "n_frames", 1) == 6
    with av.open(str(tmp_path / "motion.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 6
    assert len([*tmp_path.iterdir()]) == 3, "nothing half-written stays"
    with pytest.raises(ValueError, match="different lengths"):
        draw(tmp_path / "x.png", {"a": (joints, "red"), "b": (joints[:3], "blue")}, fps=4)


TEXT = "<|pose_001|><|pose_002|><|pose_frame_end|><|pose_003|><|pose_000|><|pose_frame_end|><|pose_end|>"


def test_foreign_tokens_are_parsed_strictly() -> None:
    np.testing.assert_array_equal(parse_text(TEXT), [[1, 2], [3, 0]])
    for text, message in (
        ("", "has 0"),
        (TEXT.removesuffix("<|pose_end|>"), "has 0"),
        (TEXT + TEXT, "has 2"),
        (TEXT.replace("<|pose_003|>", ""), r"Frames have \[1, 2\] pose tokens"),
        (TEXT.replace("<|pose_003|>", "Bend!"), "something else: 'Bend!'"),
        ("<|pose_001|><|pose_end|>", "does not end in"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_text(text)


def test_the_command_decodes_and_refuses(coach: TinyCoach, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = coach.test[0].learner.clip_id
    names = coach.processor.pose_text(coach.codes[clip])
    (tmp_path / "poses.txt").write_text(names)
    tokenizer = str(coach.folder / "pose_tokenizer" / "tokenizer")

    def export(source: str, out: str, *options: str) -> int:
        return mm_coach(["poses", "export", str(tmp_path / source), str(tmp_path / out), *options])

    assert export("poses.txt", "poses.npy", "--tokenizer", tokenizer) == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "poses.npy"), numpy_codec(coach.pose_tokenizer)[1](coach.codes[clip]), atol=1e-6
    )
    assert export("poses.npy", "poses.bvh") == 0 and export("poses.npy", "poses.gif") == 0
    absent = np.load(tmp_path / "poses.npy")
    absent[1, 7] = np.nan
    np.save(tmp_path / "absent.npy", absent)
    assert export("absent.npy", "again.npy") == 0 and np.isnan(np.load(tmp_path / "again.npy")[1, 7]).all()
    assert export("absent.npy", "x.bvh") == 2 and "Frame 1: left-elbow is absent" in capsys.readouterr().err
    assert export("poses.txt", "x.npy") == 2 and "--tokenizer" in capsys.readouterr().err
    (tmp_path / "wrong.txt").write_text(TEXT)
    assert export("wrong.txt", "x.npy", "--tokenizer", tokenizer) == 2
    assert "codes of shape (2, 2)" in capsys.readouterr().err
    for content, message in (("", "is empty"), ('{"item_id": "a", "poses": null}\n', "a has no poses")):
        (tmp_path / "none.jsonl").write_text(content)
        assert export("none.jsonl", "x.npy", "--tokenizer", tokenizer) == 2 and message in capsys.readouterr().err
    assert export("poses.npy", "x.npy", "--item", "a") == 2 and "--item chooses" in capsys.readouterr().err
    assert export("poses.npy", "x.npy", "--against", "y.npy") == 2 and "for drawings" in capsys.readouterr().err
    assert export("poses.npy", "x.fbx") == 2 and ".bvh" in capsys.readouterr().err
