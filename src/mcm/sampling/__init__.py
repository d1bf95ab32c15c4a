"""Sampling: few-step samplers, models that generate clips, the work of `mcm generate`."""
