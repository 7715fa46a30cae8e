"""One small file per public dataset; see `table.py` for what such a file says."""
