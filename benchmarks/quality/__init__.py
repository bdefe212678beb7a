"""How good the candidates are, by nested cross-validation, beside the figures that others published."""
