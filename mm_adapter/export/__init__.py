"""A trained coach as a checkpoint that other engines load, with proof that it is the same coach."""
