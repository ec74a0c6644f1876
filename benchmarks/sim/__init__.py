"""OpenLORIS-Sim, rendered: objects, scenes, ray casting, shading."""
