"""Frozen encoder outputs on disk."""

from mm_data.features.maintenance import merge_stores, verify_store
from mm_data.features.store import FeatureManifest, FeatureStore, pooled_features
from mm_data.features.writer import SHARD_SIZE, FeatureStoreWriter

__all__ = [
    "SHARD_SIZE",
    "FeatureManifest",
    "FeatureStore",
    "FeatureStoreWriter",
    "merge_stores",
    "pooled_features",
    "verify_store",
]
