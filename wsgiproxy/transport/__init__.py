"""How bytes move: one seam, two drivers."""
