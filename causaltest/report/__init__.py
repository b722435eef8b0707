"""Reports of a run: a terminal table, an HTML page and figures, from records alone."""
