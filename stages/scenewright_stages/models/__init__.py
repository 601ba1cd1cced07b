"""Model backends: what exists (registry), what may run (licences), what is there (weights), how it loads.

Importing this package, :mod:`.registry`, :mod:`.specs`, :mod:`.errors` or :mod:`.weights` loads neither
torch nor numpy; the backends themselves are imported when :func:`.loading.load` needs them.
"""
