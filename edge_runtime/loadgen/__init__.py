"""Bundles under load from MLPerf's LoadGen."""
