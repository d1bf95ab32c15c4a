"""Judges of generated clips: metrics, the protocol of the embedded world, reports.

No judge's network is ever a critic's.
"""
