"""MLPerf's LoadGen as a load on bundles."""
