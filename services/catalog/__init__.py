"""The catalog: product pages, reviews, recommendations and the product list."""
