"""Text metrics against published vectors, odd texts, and what is taken off a text first."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

import mm_eval.metrics.text
from mm_eval.metrics.text import PREFIX, TextScores, clean, coco_scores, java, modern_scores, release_scores
from mm_eval.statistics.aggregates import AGGREGATES
from mm_eval.statistics.metric import Metric

REFERENCES = [
    "The player keeps the head up and bends the knees, but releases the ball too early.",
    "The climber's arms are fully extended, which wastes energy; keep the elbows slightly bent.",
    "Good balance on the standing leg. The player should follow through with the kicking foot.",
    "He uses two hands to shoot the ball instead of one shooting hand at a 90-degree angle.",
    "She doesn't look at the basket before the layup, so the shot is off-target.",
    "The feet are placed precisely on the holds and the hips stay close to the wall.",
]
CANDIDATES = [
    "The player bends the knees well and keeps the head up, but the ball is released too early.",
    "The climber should keep the arms slightly bent to save energy.",
    "The player shows good balance. They should follow through with the foot.",
    "The shooter's hand should be at a 90-degree angle and he should use one hand.",
    "The player does not look at the basket.",
    REFERENCES[5],
]
CLUSTERS = list("abcdef")
ORDER = [3, 1, 5, 0, 2, 4]
ODD = ["", ".", "👍", "word", " ".join(f"word{k}" for k in range(2000)), "..."]
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the PTB tokenizer are Java programs")


def moved(texts: list[str]) -> list[str]:
    return [texts[i] for i in ORDER]


@pytest.fixture(scope="module")
def coco() -> TextScores:
    """One run for many systems, because Java takes seconds to start."""
    systems = {
        "ours": CANDIDATES,
        "line separator": [CANDIDATES[0].replace(" ", "\u2028", 1), *CANDIDATES[1:]],
        "decorated": [f"<|im_start|>{PREFIX}**{CANDIDATES[0]}**\n", *CANDIDATES[1:-1], f"- {CANDIDATES[5]}<|im_end|>"],
        "odd": ODD,
        "nothing": [""] * 6,
        "perfect": REFERENCES,
    }
    return coco_scores(systems, REFERENCES, CLUSTERS)


@needs_java
@pytest.mark.parametrize(
    ("name", "value", "per_item"),
    [
        ("bleu1", 0.662451, [0.833333, 0.505559, 0.649001, 0.469707, 0.312647, 1]),
        ("bleu2", 0.534672, None),
        ("bleu3", 0.439149, None),
        ("bleu4", 0.378893, [0.264602, 0, 0.324936, 0.171039, 0.159493, 1]),
        ("meteor", 0.346150, [0.434383, 0.261951, 0.353792, 0.261224, 0.178290, 1]),
        ("rouge_l", 0.576308, [0.653996, 0.449080, 0.580952, 0.361660, 0.412162, 1]),
        ("cider", 3.742705, [3.676028, 1.687269, 3.656975, 2.002710, 1.433246, 10]),
    ],
)
def test_coco_vectors(coco: TextScores, name: str, value: float, per_item: list[float] | None) -> None:
    found = coco.rows["ours"][name]
    assert found.value == pytest.approx(value, abs=1e-6)
    if per_item is not None:
        assert found.per_item == pytest.approx(per_item, abs=1e-6)


@needs_java
def test_ptb_tokens() -> None:
    from mm_eval.metrics.text.java import ptb_tokens

    assert list(ptb_tokens([REFERENCES[1], REFERENCES[4], CANDIDATES[3]])) == [
        "the climber 's arms are fully extended which wastes energy keep the elbows slightly bent",
        "she does n't look at the basket before the layup so the shot is off-target",
        "the shooter 's hand should be at a 90-degree angle and he should use one hand",
    ]


@needs_java
def test_line_separators_and_marks_change_nothing(coco: TextScores) -> None:
    for name, metric in coco.rows["ours"].items():
        assert coco.rows["line separator"][name].value == pytest.approx(metric.value), name
        assert coco.rows["decorated"][name].value == pytest.approx(metric.value), name


@needs_java
def test_odd_texts_score_nothing_and_are_counted(coco: TextScores) -> None:
    for name in ("bleu1", "meteor", "rouge_l", "cider"):
        items = coco.rows["odd"][name].per_item
        assert items is not None and max(items) < 1e-6, name
    assert "odd: 4 of 6 texts hold no word and score 0." in coco.notes
    assert "nothing: 6 of 6 texts hold no word and score 0." in coco.notes
    assert coco.rows["perfect"]["bleu4"].value == pytest.approx(1) and coco.rows["perfect"]["meteor"].value > 0.99


@needs_java
def test_order_two_references_one_item_and_equal_references(coco: TextScores) -> None:
    again = coco_scores({"ours": moved(CANDIDATES)}, moved(REFERENCES), CLUSTERS).rows["ours"]
    for name, metric in coco.rows["ours"].items():
        assert again[name].value == pytest.approx(metric.value), name
    pairs = [[REFERENCES[i], REFERENCES[(i + 1) % 6]] for i in range(6)]
    two = coco_scores({"ours": CANDIDATES}, pairs, CLUSTERS).rows["ours"]
    assert two["bleu4"].value == pytest.approx(0.389897, abs=1e-6)
    assert two["cider"].value == pytest.approx(1.680408, abs=1e-6)
    assert two["rouge_l"].value == pytest.approx(0.576308, abs=1e-6)
    assert two["meteor"].value == pytest.approx(0.346150, abs=1e-6)
    assert "nrefs:2" in two["meteor"].signature
    one = coco_scores({"ours": CANDIDATES[:1]}, REFERENCES[:1], CLUSTERS[:1]).rows["ours"]
    assert one["cider"].value == 0  # every word occurs in every document
    assert one["rouge_l"].value == pytest.approx(0.653996, abs=1e-6)
    same = coco_scores({"ours": CANDIDATES}, [REFERENCES[0]] * 6, CLUSTERS).rows["ours"]
    assert same["cider"].value == 0


@needs_java
def test_meteor_equals_its_own_program() -> None:
    """Our aggregate of its statistics against its own, on pairs that others have published too."""
    pairs = [
        ("it is a guide to action that ensures that the military will forever heed party commands",
         "it is a guide to action which ensures that the military always obeys the commands of the party", 0.447361),
        ("the cat sat on the mat", "the cat was sat on the mat", 0.511956),
        ("There is a place in the city centre, Alimentum, that is not family-friendly.",
         "Alimentum is located in the city centre. It is not family-friendly.", 0.424851),
    ]  # fmt: skip
    from mm_eval.metrics.text.java import meteor_statistics

    rows = np.array([meteor_statistics(candidate, [true]) for true, candidate, _ in pairs])
    assert AGGREGATES["meteor"](np.eye(3), rows) == pytest.approx([value for *_, value in pairs], abs=1e-6)


@needs_java
def test_statistics_give_what_scoring_a_part_gives(coco: TextScores) -> None:
    """Resampling sums of statistics is scoring the resampled texts again."""
    part = [0, 1, 4]
    again = coco_scores({"ours": [CANDIDATES[i] for i in part]}, [REFERENCES[i] for i in part], list("abc")).rows[
        "ours"
    ]
    weights = np.zeros((1, 6))
    weights[0, part] = 1
    for name in ("bleu1", "bleu2", "bleu3", "bleu4", "meteor"):
        metric = coco.rows["ours"][name]
        found = AGGREGATES[metric.aggregate](weights, metric.statistics)[0]
        assert found == pytest.approx(again[name].value, abs=1e-12), name


@needs_java
def test_records_survive_json(coco: TextScores) -> None:
    for metric in coco.rows["ours"].values():
        assert Metric.from_json(json.loads(json.dumps(metric.to_json()))) == metric


def wordnet_is_there() -> bool:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return False
    return True


NLTK_METEOR = {
    False: [0.654604, 0.271533, 0.585370, 0.375744, 0.235541, 0.999878],
    True: [0.887622, 0.694077, 0.757576, 0.701603, 0.604102, 0.999983],
}


@pytest.mark.parametrize(
    ("prefix", "bleu", "meteor", "rouge", "cider", "cider_items"),
    [
        ("", 0.317990, 0.520445, 0.559829, 3.061903, [2.446374, 0.879487, 3.030887, 1.207326, 0.807347, 10]),
        (PREFIX, 0.649723, 0.774161, 0.784495, 3.105321, [2.827086, 0.962699, 2.874331, 1.188063, 0.779749, 10]),
    ],
)
def test_release_vectors(
    prefix: str, bleu: float, meteor: float, rouge: float, cider: float, cider_items: list[float]
) -> None:
    """ExpertAF's released scorer, without and with its constant prefix."""
    suite = release_scores({"ours": CANDIDATES}, REFERENCES, CLUSTERS, prefix)
    found = suite.rows["ours"]
    assert found["bleu4"].value == pytest.approx(bleu, abs=1e-6)
    assert AGGREGATES["bleu4"](np.ones((1, 6)), found["bleu4"].statistics)[0] == pytest.approx(bleu, abs=1e-6)
    assert found["rouge_l"].value == pytest.approx(rouge, abs=1e-6)
    assert found["cider"].value == pytest.approx(cider, abs=1e-6)
    assert found["cider"].per_item == pytest.approx(cider_items, abs=1e-6)
    if wordnet_is_there():
        assert found["meteor"].value == pytest.approx(meteor, abs=1e-6)
        assert found["meteor"].per_item == pytest.approx(NLTK_METEOR[bool(prefix)], abs=1e-6)
    else:
        assert "meteor" not in found and suite.notes == [
            "METEOR: not computed: NLTK has no WordNet 3.0 (python -m nltk.downloader wordnet)"
        ]


@needs_java
def test_saying_nothing_scores_with_the_prefix_and_nothing_without(coco: TextScores) -> None:
    """Why the clean number is the headline."""
    nothing = [""] * len(REFERENCES)
    kept = release_scores({"ours": nothing}, REFERENCES, CLUSTERS).rows["ours"]
    assert kept["rouge_l"].value == pytest.approx(0.679843, abs=1e-6)
    assert kept["bleu4"].value == pytest.approx(0.359795, abs=1e-6)
    clean_rows = release_scores({"ours": nothing}, REFERENCES, CLUSTERS, prefix="").rows["ours"]
    assert clean_rows["rouge_l"].value == 0 and clean_rows["cider"].value == 0
    assert coco.rows["nothing"]["rouge_l"].value == 0


def test_odd_texts_do_not_stop_the_released_scorer() -> None:
    plain = release_scores({"ours": ODD}, REFERENCES, CLUSTERS, prefix="").rows["ours"]
    assert plain["rouge_l"].per_item is not None and plain["rouge_l"].per_item[:4] == (0.0, 0.0, 0.0, 0.0)
    assert plain["rouge_l"].n + plain["rouge_l"].n_failed == 6
    again = release_scores({"ours": moved(CANDIDATES)}, moved(REFERENCES), CLUSTERS, prefix="").rows["ours"]
    for name, metric in release_scores({"ours": CANDIDATES}, REFERENCES, CLUSTERS, prefix="").rows["ours"].items():
        assert again[name].value == pytest.approx(metric.value), name


def test_modern_vectors() -> None:
    suite = modern_scores({"ours": CANDIDATES, "odd": ODD}, REFERENCES, CLUSTERS)
    found = suite.rows["ours"]
    assert found["rouge_l_f1"].value == pytest.approx(0.572421, abs=1e-6)
    expected = [0.647059, 0.461538, 0.592593, 0.4, 0.333333, 1]
    assert found["rouge_l_f1"].per_item == pytest.approx(expected, abs=1e-6)
    assert found["sacrebleu"].value == pytest.approx(37.610206, abs=1e-6)
    assert "case:mixed|eff:no|tok:13a|smooth:exp" in found["sacrebleu"].signature
    assert suite.rows["odd"]["rouge_l_f1"].value == 0 and suite.rows["odd"]["sacrebleu"].value == 0
    assert "BERTScore: not computed: no weights were given (--bert-model FOLDER --bert-layer N)" in suite.notes
    again = modern_scores({"ours": moved(CANDIDATES)}, moved(REFERENCES), CLUSTERS).rows["ours"]
    for name, metric in found.items():
        assert again[name].value == pytest.approx(metric.value), name


def test_sacrebleu_smooths_like_its_package() -> None:
    from sacrebleu import corpus_bleu

    few = ["the knees stay high", "bend your arms"]
    for candidates in (few, ["knees the high stay", "arms"], ["nothing of it", "at all"]):
        found = modern_scores({"ours": candidates}, ["the knees stay low here", "bend your legs"], ["a", "b"])
        expected = corpus_bleu(candidates, [["the knees stay low here", "bend your legs"]]).score
        assert found.rows["ours"]["sacrebleu"].value == pytest.approx(expected, abs=1e-9), candidates


def test_bert_score_by_local_weights(tmp_path: Path) -> None:
    words = sorted({w for text in REFERENCES + CANDIDATES for w in text.lower().replace(",", " ").split()})
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words) + 5, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(tmp_path)
    bert = mm_eval.metrics.text.BertModel(tmp_path, layer=2)
    systems = {"ours": CANDIDATES, "odd": ODD, "perfect": REFERENCES}
    suite = modern_scores(systems, REFERENCES, CLUSTERS, bert)
    ours = suite.rows["ours"]["bertscore"]
    assert suite.rows["perfect"]["bertscore"].value == pytest.approx(1, abs=1e-5) and ours.value < 1
    odd = suite.rows["odd"]["bertscore"].per_item
    assert odd is not None and odd[:3] == (0, 0, 0) and odd[3] > 0
    again = modern_scores({"ours": moved(CANDIDATES)}, moved(REFERENCES), CLUSTERS, bert).rows["ours"]["bertscore"]
    assert ours.per_item is not None and again.per_item == pytest.approx([ours.per_item[i] for i in ORDER], abs=1e-5)
    assert f"model:{tmp_path.name}_L2" in ours.signature


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("**Bend** your *left* knee.", "Bend your left knee."),
        ("## Remarks\n\n1. Bend.\n2) Turn.\n- Look up.", "Remarks Bend. Turn. Look up."),
        ("<|begin_of_text|>Bend.<|eot_id|></s>", "Bend."),
        (f"{PREFIX}Bend.", "Bend."),
        ("a 90-degree angle (bent), 3.5 m/s", "a 90-degree angle (bent), 3.5 m/s"),
        ("`code` and [a link](http://x.y)", "code and a link"),
        ("```\nBend.\n```", "Bend."),
        ("snake_case_word stays, 2 * 3 * 4 too", "snake_case_word stays, 2 * 3 * 4 too"),
        ("two\u2028lines\x0band\x85more", "two lines and more"),
        ("9.5 of 10 points", "9.5 of 10 points"),
    ],
)
def test_cleaning_takes_marks_and_no_words(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


def test_text_lists_must_match() -> None:
    with pytest.raises(ValueError, match="ours: 5 candidates, 6 references"):
        coco_scores({"ours": CANDIDATES[:5]}, REFERENCES, CLUSTERS)
    with pytest.raises(ValueError, match=r"Item 2 has no true text \(1 of 6 have none\)"):
        modern_scores({"ours": CANDIDATES}, [*REFERENCES[:2], " ", *REFERENCES[3:]], CLUSTERS)


@pytest.mark.parametrize("prefix", ["", "The learner should "])
def test_the_releases_bleu_is_nltks_in_every_sample(prefix: str) -> None:
    """Smoothed orders, empty texts and a corpus without any match included; its value lies inside its interval."""
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

    rng = np.random.default_rng(0)
    words = ["bend", "your", "knees", "more", "and", "keep", "the", "back", "straight", "while", "you", "jump"]
    truth = [" ".join(rng.choice(words, 6)) for _ in range(12)]
    systems = {
        "some": [" ".join(rng.choice(words, 7)) for _ in range(12)],
        "rare": ["zzz " * 5 + words[i % 3] for i in range(12)],
        "silent": [""] * 12,
        "exact": truth,
    }
    rows = release_scores(systems, truth, [str(i) for i in range(12)], prefix=prefix).rows
    smooth = SmoothingFunction().method4
    for name, texts in systems.items():
        metric = rows[name]["bleu4"]
        split = [[(prefix + text).split()] for text in truth], [(prefix + text).split() for text in texts]
        assert metric.value == pytest.approx(float(corpus_bleu(*split, smoothing_function=smooth)), abs=1e-12)  # type: ignore[arg-type]
        assert metric.interval is not None and metric.interval[0] <= metric.value <= metric.interval[1]
        drawn = [3, 3, 7, 0, 11, 3]
        weights = np.bincount(drawn, minlength=12)[None].astype(float)
        sample = [split[0][i] for i in drawn], [split[1][i] for i in drawn]
        of_sample = float(AGGREGATES["nltk_bleu"](weights, metric.statistics)[0])
        assert of_sample == pytest.approx(float(corpus_bleu(*sample, smoothing_function=smooth)), abs=1e-12)  # type: ignore[arg-type]


@needs_java
def test_other_java_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    java._meteor.cache_clear()
    metrics = coco_scores({"ours": CANDIDATES}, REFERENCES, CLUSTERS).rows["ours"]
    assert metrics["meteor"].value == pytest.approx(0.346150, abs=1e-6)  # no decimal commas
    assert os.environ["JAVA_TOOL_OPTIONS"] == "-Duser.language=de -Duser.country=DE"
    java._meteor.cache_clear()


@needs_java
@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("py path", "METEOR's Java program cannot run from a path with a blank, which"),
        ("100%25", "METEOR's Java program cannot run from a path with '%', which"),
        ("päth", "METEOR's Java program cannot run from a path with 'ä', which"),
        ("a #1", "METEOR's Java program cannot run from a path with '#' and a blank, which"),
        ("path", "METEOR's Java program ended with status 1: Error: Unable to access jarfile meteor-1.5.jar"),
    ],
)
def test_meteor_alone_is_not_computed_where_its_program_dies(
    folder: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder / "meteor").mkdir(parents=True)
    real = java._folder
    monkeypatch.setattr(java, "_folder", lambda part: tmp_path / folder / part if part == "meteor" else real(part))
    java._meteor.cache_clear()
    suite = coco_scores({"ours": CANDIDATES}, REFERENCES, CLUSTERS)
    java._meteor.cache_clear()
    assert [note for note in suite.notes if note.startswith(f"METEOR: not computed: {reason}")] == suite.notes
    assert set(suite.rows["ours"]) == {"bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"}


@needs_java
@pytest.mark.parametrize(
    ("asked_for", "title"), [("PTBTokenizer", "BLEU, METEOR, ROUGE-L, CIDEr"), ("Xmx2G", "METEOR")]
)
def test_too_little_memory_is_the_reason(
    asked_for: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starved = tmp_path / "java"
    starved.write_text(f'#!/bin/sh\ncase "$*" in *{asked_for}*) ulimit -v 800000;; esac\nexec {java._java()} "$@"\n')
    starved.chmod(0o755)
    monkeypatch.setattr(java, "_java", lambda: str(starved))
    java._meteor.cache_clear()
    (note,) = coco_scores({"ours": CANDIDATES}, REFERENCES, CLUSTERS).notes
    java._meteor.cache_clear()
    assert re.match(f"{title}: not computed: .*status 1.*: (Could not|Error|There is insufficient)", note)


def test_the_reason_is_no_place_in_javas_stack() -> None:
    died = "Exception in thread main: x\n\tat Meteor.main(Meteor.java:3)\nCaused by: no memory\n\tat a.b(Unknown Source)\n\t... 3 more\n"
    assert java._last_line(died) == "Caused by: no memory"
    assert java._last_line("Picked up JAVA_TOOL_OPTIONS: -Dx\n\tat a.b\n") == "it said nothing"


@needs_java
def test_meteors_answer_has_to_have_all_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short:
        def readline(self) -> str:
            return "1.0 2.0 3.0\n"

    java._meteor.cache_clear()
    program = java._meteor(os.getpid())
    monkeypatch.setattr(program.process, "stdout", Short())
    with pytest.raises(java.NotComputed, match=r"answered '1\.0 2\.0 3\.0"):
        program.statistics("a", ["a"])
    program.process.kill()
    java._meteor.cache_clear()
