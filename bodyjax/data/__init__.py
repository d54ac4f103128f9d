"""Pictures, videos and joints from files to batches: NumPy only; nothing here touches a device."""
