"""The first step: from a source to a data set, a folder of typed and split rows with a version."""
