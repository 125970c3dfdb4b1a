"""Examples on disk: reading, statistics, schema, anomalies, in TFX's layout."""
