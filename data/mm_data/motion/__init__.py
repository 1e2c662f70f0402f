"""Motion that people already have (BVH, joint arrays, data sets) as COCO-17 poses in metres, z up, 30 fps."""
