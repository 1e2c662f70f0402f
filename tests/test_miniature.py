"""The miniature: deterministic, in the release's format with its irregularities, and worded so that errors can be told."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mm_data.labelling.rules import label_by_rules
from mm_data.miniature import write_miniature
from mm_data.miniature.remarks import CORRECTIONS, correction
from mm_data.miniature.truth import MiniatureTruth
from mm_data.records import IMPROVE, LabelledRemark, Remark


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    write_miniature(tmp_path / "a", takes=4, seed=3, workers=1)
    write_miniature(tmp_path / "b", takes=4, seed=3, workers=2)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    write_miniature(tmp_path / "c", takes=4, seed=4)
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_miniature_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(ValueError, match=r"holds .*which this command did not write"):
        write_miniature(tmp_path, takes=8, seed=0)
    with pytest.raises(ValueError, match="at least 4 takes"):
        write_miniature(tmp_path / "x", takes=3, seed=0)


def test_miniature_has_the_irregularities_of_the_release(tiny: Path) -> None:
    root = tiny / "miniature"
    takes = json.loads((root / "takes.json").read_text())
    commentary = json.loads((root / "annotations/expert_commentary_train.json").read_text())["annotations"]
    items = [item for sessions in commentary.values() for s in sessions for item in s["commentary_data"]]
    assert any(item["text"] is None and item["error"] for item in items)
    assert all(item["text"].startswith(" ") for item in items if item["text"])
    assert any(not s["commentary_data"] for sessions in commentary.values() for s in sessions)
    assert any(take["best_exo"] is None for take in takes)
    assert any("aria02" in take["frame_aligned_videos"] for take in takes)
    assert any(camera["is_ego"] == "True" for take in takes for camera in take["capture"]["cameras"])
    shipped = json.loads((root / "annotations/proficiency_demonstrator_train.json").read_text())
    documented = json.loads((root / "annotations/proficiency_demonstrator_val.json").read_text())
    assert isinstance(shipped, dict) and isinstance(documented, list)
    assert {r["take_uid"] for r in documented} - {t["take_uid"] for t in takes}, "a ghost take"
    sparse = list(root.glob("annotations/ego_pose/*/body/annotation/*.json"))
    frames = [int(k) for k in json.loads(sparse[0].read_text())]
    assert frames == sorted(frames, reverse=True) and set(np.diff(frames)) == {-3}
    dense = [json.loads(p.read_text()) for p in sorted(root.glob("annotations/ego_pose/*/body/automatic/*.json"))[:20]]
    assert any([] in pose.values() for pose in dense), "an empty frame"
    assert any(min(map(int, pose)) == 7 for pose in dense), "frames that do not start at 0"
    assert any(entries and "left-ear" not in entries[0]["annotation3D"] for pose in dense for entries in pose.values())


def test_miniature_shows_several_errors_per_activity(tiny: Path) -> None:
    truth = MiniatureTruth(tiny / "miniature")
    regions = {take["activity"]: take["regions"] for take in truth.takes.values()}
    assert len(regions) == 3
    assert all(len(errors) >= 4 for errors in regions.values())


@pytest.mark.parametrize(("slug", "error"), sorted(CORRECTIONS))
def test_every_wording_names_its_error_and_no_other(tiny: Path, slug: str, error: str) -> None:
    truth = MiniatureTruth(tiny / "miniature")
    take = next(uid for uid, t in truth.takes.items() if t["activity"] == slug)
    region = truth.takes[take]["regions"][error]
    rng = np.random.default_rng(0)
    for _ in range(12):
        spoken = correction(rng, slug, error, region, praised=None)
        result = label_by_rules(Remark("r", "t", "c", 1.0, spoken.text or ""))
        assert isinstance(result, LabelledRemark)
        assert truth.named(take, result.summary) == {error}
        assert result.regions == spoken.regions == {region: IMPROVE}
