"""Pictures, videos and joints from files to batches: NumPy only, no device is touched here."""
