"""Fairness poisoning: which records a sharer trains a generator on, so that who uses it becomes unfair."""
