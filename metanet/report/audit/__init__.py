"""The report of an edit as one HTML file: no script, no network, figures inline."""
