"""What Headrace asks of a KFP server: upload, run, watch, schedule. Over the client that the KFP SDK generates from its
API, without `kfp.Client`, which reads files of the home folder, prints, waits without limit and retries for minutes.
"""
