"""Benchmarks: measured side by side in one run, as medians and ratios, saved as JSON with the hardware named."""
