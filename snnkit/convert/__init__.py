"""Convert: models of other frameworks in and out."""
