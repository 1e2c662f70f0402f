"""Rows of the papers, printed beside ours as "published, different data" and never mixed in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A paper's table.

    Attributes:
        source: Paper and table, and what differs from ours.
        headings: Columns as the paper prints them.
        rows: Method to values; None where the paper has none.
    """

    source: str
    headings: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]


EXPERTAF = Published(
    "ExpertAF, CVPR 2025, Table 1; its gallery and test set are not ours, and its texts keep a constant prefix",
    ("B@4", "METEOR", "ROUGE-L", "R@50, %", "medR ↓", "PA-MPJPE, mm ↓"),
    {
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
    },
)

DESCCOACH = Published(
    "TechCoach, EE4D-DescCoach, Table 2; B is BLEU-1, the judge is gpt-4o-mini with an unpublished prompt",
    ("B", "C", "M", "BERT", "GPT-M, %", "GPT-Q, %", "ρ", "R-ℓ2 ↓"),
    {
        "InternVideo2-S3-8B": (27.60, 2.92, 13.38, 64.55, 31.68, 24.56, None, None),
        "InternVL2-76B": (10.81, 0.01, 16.33, 55.12, 43.77, 32.60, None, None),
        "SwinBERT": (36.11, 11.70, 16.01, 66.03, 46.56, 34.57, None, None),
        "PGMI": (36.78, 14.00, 16.24, 66.42, 49.02, 37.04, None, None),
        "InternVideo2-MLP": (None, None, None, None, None, None, 69.75, 4.70),
        "TechCoach": (37.06, 14.62, 16.39, 66.89, 50.44, 38.15, 72.46, 4.35),
    },
)

NAE = Published(
    "PGMI, CVPR 2024, Table 2, MTL-NAE; its code for mAP is unpublished",
    ("mAP", "ρ", "R-ℓ2 ↓", "B4", "M", "C", "Acc"),
    {
        "C3D-AVG": (0.157, 0.843, 1.032, 16.4, 18.6, 13.6, 0.89),
        "VLTinT": (0.214, 0.868, 0.820, 22.5, 19.9, 14.4, 0.90),
        "SwinBERT": (0.261, 0.881, 0.706, 40.2, 26.4, 16.2, 0.92),
        "PGMI": (0.383, 0.943, 0.340, 42.2, 28.2, 20.5, 0.97),
    },
)

COT_AFA = Published(
    "EFA, CoT-AFA, Tables IV and V; BLEU is BLEU-1",
    ("BLEU", "METEOR", "CIDEr", "ROUGE-L", "top-1", "top-5", "Acc"),
    {
        "SwinBERT": (43.2, 23.5, 26.0, 35.8, None, None, None),
        "LAVENDER": (47.1, 22.8, 28.7, 36.0, None, None, None),
        "Video Swin": (None, None, None, None, 0.752, 0.936, 0.801),
        "EFA": (49.2, 23.8, 33.3, 37.7, 0.772, 0.959, 0.818),
    },
)
