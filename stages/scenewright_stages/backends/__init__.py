"""Backends: what provides a capability, which weights it needs, and how it is loaded.

Every capability has a folder: ``interface.py`` says what a stage may ask and what it gets, ``facts.py`` says everything
about its backends that is known before one is loaded, and the other modules implement them. A stage asks by capability,
``load(DEPTH, "moge", context)``, or by a :class:`.chain.BackendChain` of alternatives. The operator imports only
:mod:`.registry`, :mod:`.choices`, :mod:`.errors` and :mod:`.cache.weights`, which load neither torch nor numpy.
"""
