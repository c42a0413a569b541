"""The pipeline: plan > claim > push > record. Read it in that order."""
