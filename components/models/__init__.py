"""The models of a table: recipes, search, exact conversion to ONNX, and the proof that the conversion is exact."""
