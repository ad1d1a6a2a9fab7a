"""What others say, as records: formats that are read here and, but for what a store exports, not written."""
