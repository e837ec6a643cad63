"""`report.html`: a measurement as one file that opens anywhere, with its verdict, table, plots and proofs."""
