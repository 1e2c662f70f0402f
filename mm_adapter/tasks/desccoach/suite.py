"""What descriptive coaching is scored by (TechCoach §5): text, judges, the score, and the dimensions to improve."""

from pathlib import Path

from mm_eval.suites.tasks import TaskSuite, column, findings, judged_scores, unread
from mm_eval.tables import Column
from mm_eval.tables.published import Published

COMMENTARY = TaskSuite(
    "DescCoach",
    (
        column("bleu1", "BLEU-1"),
        column("meteor", "METEOR"),
        column("cider", "CIDEr"),
        column("bertscore", "BERTScore"),
        Column("judge", "gpt_m", "GPT-M, %"),
        Column("judge", "gpt_q", "GPT-Q, %"),
        column("spearman", "ρ"),
        column("relative_l2", "R-ℓ2", digits=2, higher=False),
        column("findings_f1", "to improve, F1", 1.0, 3),
        column("unread", "unread, %", digits=1, higher=False),
    ),
    (judged_scores((0.0, 10.0)), findings, unread),
    Published.read(Path(__file__).with_name("published.yaml")),
    bert=True,
)
