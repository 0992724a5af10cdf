"""The main job: a spiking network and its ANN counterpart on real digits, measured and shown alike.

`job` trains and measures, `sections` says what is computed and shown about it, `output` prints and writes.
"""
