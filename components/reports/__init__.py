"""HTML pages and plots that people read: one file each, self-contained, light and dark."""
