"""The contract between operator and workers: pipelines, stages, samples, records, keys, tasks and exit codes.

The operator and the command line import this package, so nothing in it may load numpy, torch or cv2.
"""
