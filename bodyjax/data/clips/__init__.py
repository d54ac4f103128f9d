"""Clips of movements: folders of videos, what is read from each, and batches of them."""
