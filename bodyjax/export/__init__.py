"""A checkpoint as one file that runs without bodyjax: StableHLO, ONNX or tflite.

One file a format; each returns the file's bytes, and a function that runs them for the parity check
(`parity`), which decides whether they are written.
"""
