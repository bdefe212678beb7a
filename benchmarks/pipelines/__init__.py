"""What running a pipeline on a laptop costs beyond its steps."""
