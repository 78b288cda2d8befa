"""Ground layer: errors, time, units, random streams, provenance, files, progress, execution."""
