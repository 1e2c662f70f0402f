"""Review of mined tuples by people: decisions on disk, and a page on the local machine to take them."""
