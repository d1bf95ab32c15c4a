"""How the detector `forensic` is trained and judged, and what is done to clips meanwhile."""
