"""Picks the best candidate, judges it on rows nobody has seen, and compares it with the champion."""
