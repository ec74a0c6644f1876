"""Fashion-MNIST's images under the four factors of OpenLORIS-Object."""
