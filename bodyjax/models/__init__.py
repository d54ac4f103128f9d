"""Networks, one Flax (linen) file a family. They take arrays and never read files."""
