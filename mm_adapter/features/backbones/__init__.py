"""Other libraries' frozen networks as video encoders."""
