"""Fits one candidate of a use case and writes it as a bundle."""
