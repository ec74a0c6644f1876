"""Your own images: folders of domains, or a CSV file that lists them."""
