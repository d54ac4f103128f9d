"""Clips of movements: folders of videos, what is read of each, and batches of them."""
