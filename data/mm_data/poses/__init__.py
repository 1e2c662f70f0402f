"""Poses as COCO-17 joints in metres, z up, 30 fps: geometry, checks, and motion of other formats brought to them."""
