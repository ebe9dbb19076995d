"""The formats that the core reads and writes without a framework, one module each, and the detection of all formats."""
