"""What all backends share: facts and their registry, weights on disk, loading, batching and compiled blocks.

`registry`, `choices`, `errors`, `capability` and `cache.weights` are light, because the operator reads them too. The
others load torch and run inside stages only. No module here imports a capability.
"""
