"""Messages of the Open Inference Protocol over gRPC, generated from inference.proto; its head says how.

They live in a descriptor pool of their own, the one change to what protoc writes: KServe's SDK registers messages of the
same names in the process-wide pool, and a client may use both.
"""
