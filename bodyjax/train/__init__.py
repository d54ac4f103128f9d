"""One training from a config, or one for every fold: start, stored maps, cross-validation."""
