"""Backbones, one file each: the network, its strides and its published names."""
