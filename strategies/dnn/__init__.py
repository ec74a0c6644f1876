"""Dynamic Neural Network (Ma et al. 2019): strategy, network, routers, and what it records while it trains."""
