"""What form assessments are scored by (CoT-AFA §V): text, class, verdict, the steps to mend, and the length of the reasoning."""

from pathlib import Path

from mm_eval.suites.tasks import TaskSuite, classes, column, counts, findings, unread
from mm_eval.tables.published import Published

ASSESSMENTS = TaskSuite(
    "CoT-AFA",
    (
        column("bleu1", "BLEU-1"),
        column("meteor", "METEOR"),
        column("cider", "CIDEr"),
        column("rouge_l", "ROUGE-L"),
        column("top1", "top-1", 1.0, 3),
        column("top5", "top-5", 1.0, 3),
        column("verdict_accuracy", "Acc", 1.0, 3),
        column("findings_f1", "steps to mend, F1", 1.0, 3),
        column("reasoning_steps", "reasoning steps", 1.0, 2, None),
        column("suggestions", "suggestions", 1.0, 2, None),
        column("unread", "unread, %", digits=1, higher=False),
    ),
    (classes, findings, counts, unread),
    Published.read(Path(__file__).with_name("published.yaml")),
)
