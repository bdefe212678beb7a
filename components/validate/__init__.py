"""The step that stops a run whose data is not what the use case expects."""
