"""Poses found in videos: a landmarker looks at every frame, one person is followed, and a folder keeps what came of it."""
