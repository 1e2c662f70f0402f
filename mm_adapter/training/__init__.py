"""From arguments to a trained coach."""
