"""The lean side: answers prediction requests from a bundle; imports nothing of pipelines/ or components/."""

__version__ = "0.1.0"
