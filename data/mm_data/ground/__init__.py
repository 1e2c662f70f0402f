"""What every other room stands on: files, logs, funnels, checks of foreign bytes. It knows nothing of poses or coaching."""
