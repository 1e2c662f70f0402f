"""Human evaluation: blinded packs for raters, their answers read back, and statistics."""
