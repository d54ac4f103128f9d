"""Networks, one Flax (linen) file per family. They take arrays and never read files."""
