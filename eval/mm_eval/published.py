"""Rows of the papers, printed beside ours as "published, different data" and never mixed in."""

EXPERTAF_TABLE_1: dict[str, tuple[float | None, ...]] = {
    "InternVideo2-NN": (42.1, 46.9, 49.3, 13.5, 198, 161),
    "InternVideo2-FT": (42.9, 47.6, 50.0, 14.1, 190, 157),
    "VideoChat2": (27.8, 44.3, 41.9, 14.9, 183, None),
    "LLaVA": (28.5, 44.1, 44.2, 15.0, 183, None),
    "LLaVA-FT": (43.5, 48.5, 51.5, 17.8, 177, None),
    "LLaVA-FT w/ pose": (43.6, 48.5, 51.7, 18.0, 172, 150),
    "PoseScript/Fix": (24.1, 44.5, 46.3, 15.9, 182, 182),
    "ExpertAF": (44.9, 49.6, 54.6, 19.1, 158, 135),
    "ExpertAF w/o video": (44.6, 49.4, 54.2, 18.7, 161, 139),
    "ExpertAF w/o pose": (44.2, 49.3, 54.2, 18.6, 163, None),
    "w/o alignment": (42.0, 48.6, 51.5, 16.9, 180, 153),
    "w/ global pose": (43.0, 47.9, 52.6, 16.5, 184, 150),
    "ExpertAF w/ full-sup": (45.8, 50.9, 55.7, 22.5, 146, 131),
}
"""ExpertAF (CVPR 2025), Table 1, left: BLEU-4, METEOR, ROUGE-L (all × 100), R@50 in %, median rank, PA-MPJPE in mm."""
