"""The embedded world ``fluent``: animated artwork, composed into a video problem.

Three domains share one set of concepts: poor video (blurred, compressed,
watermarked), clean still images, and flat drawings.
"""
