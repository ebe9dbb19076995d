"""Golden traces: what original libraries compute of each operation and each shipped block, in files of some kilobytes.

``python -m tests.golden.making`` records them again, which takes the libraries of the ``test`` group: where a case in
``cases`` is new or has changed, where a library is to be a newer one. A trace says which library, version and object
made it. To compare with one by hand:
``resnet-spec parity --against tests/golden/traces/blocks/bottleneck.safetensors --backend tensorflow --bisect``.
"""
