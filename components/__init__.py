"""The steps of a pipeline and what they share; imports serving's contract, never pipelines/."""
