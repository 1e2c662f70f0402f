"""Items: a clip with what experts said about it, one Parquet schema and one folder layout for all tasks."""
