"""The life of a coaching tuple: pairing, mining, the folder on disk, its pages and its review."""
