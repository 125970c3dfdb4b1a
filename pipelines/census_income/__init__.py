"""Census-Income (KDD): income above 50,000 dollars, and never married."""
