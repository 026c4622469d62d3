"""What is kept, from the ledger alone: limits, duplicates, roles and quotas. No picture is read."""
