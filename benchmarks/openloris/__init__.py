"""OpenLORIS-Object in each of the layouts it comes in."""
