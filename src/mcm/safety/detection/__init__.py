"""The detector `forensic`: what it sees, how it decides, how it is trained and judged."""
