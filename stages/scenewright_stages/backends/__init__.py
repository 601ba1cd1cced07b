"""Backends: implementations of capabilities, their weights, and how to load them.

Every capability has a folder: ``interface.py`` defines its protocol, ``facts.py`` lists the static facts of its
backends, and the other modules implement them. A stage loads by capability, ``load(DEPTH, "moge", context)``, or uses a
:class:`.chain.BackendChain` of alternatives. The operator imports only :mod:`.registry`, :mod:`.choices`,
:mod:`.errors` and :mod:`.cache.weights`, which import neither torch nor numpy.
"""
