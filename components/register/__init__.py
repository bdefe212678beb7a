"""Publish the winner as a version: immutable in S3, named in MLflow."""
