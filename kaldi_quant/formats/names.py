"""Names of the files that quantization leaves in a folder; light to import."""

#: The integer model.
ARTEFACT_NAME = "quantized.safetensors"
#: How it was made.
RECORD_NAME = "quantization.json"
#: The same model with weights in float, for Kaldi.
DEQUANTIZED_NAME = "dequantized.mdl"
#: A configuration with the widths that were found for a model's layers.
ALLOCATION_NAME = "allocation.yaml"
