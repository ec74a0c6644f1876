"""OpenLORIS-Object in each layout that it is found in."""
