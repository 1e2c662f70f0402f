"""Pose tokenizer: 3-D poses to compositional tokens and back, and the vocabulary a language model sees."""

from mm_tokenizers.canonical import canonical_poses, sample_frames
from mm_tokenizers.codes import PoseCodeStore, numpy_codec
from mm_tokenizers.pct import PoseTokenizer, PoseTokenizerConfig
from mm_tokenizers.storage import fingerprint, load_tokenizer, save_tokenizer
from mm_tokenizers.vocabulary import PoseVocabulary

__all__ = [
    "PoseCodeStore",
    "PoseTokenizer",
    "PoseTokenizerConfig",
    "PoseVocabulary",
    "canonical_poses",
    "fingerprint",
    "load_tokenizer",
    "numpy_codec",
    "sample_frames",
    "save_tokenizer",
]
