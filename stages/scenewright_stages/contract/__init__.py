"""What control plane and data plane agree on: pipelines, stages, samples, records, keys, tasks, exit codes.

Light by design: the operator and the command line import it, so nothing here loads numpy, torch or cv2.
"""
