"""The step that shows the data on one page."""
