"""FQSS's programs: settings by its keys, training in float and quantized, validation, files that are separated."""
