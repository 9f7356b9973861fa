"""Grids and windows between which timm resizes what was learnt about positions."""

# Old grid, new grid, prefix tokens.
POSITIONS = (((14, 14), (24, 24), 1), ((14, 14), (7, 7), 1), ((14, 14), (10, 12), 2), ((6, 8), (9, 4), 0))
# Old window, new window.
WINDOWS = (((7, 7), (12, 12)), ((12, 12), (7, 7)), ((7, 7), (5, 6)))
