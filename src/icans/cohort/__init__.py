"""The cohort: schema, vocabulary, readers and writers, checks."""
