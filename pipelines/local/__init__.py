"""The laptop runner: the compiled pipeline on kfp.local through a thin layer."""
