"""Joints over time: tables, array sets, simulated exercises, and batches of them."""
