"""Reports: what a trained run is good at, and where it is weak, as figures and as a page."""
