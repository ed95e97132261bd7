# Sourced by the recipes that quantize, before local/parse_options.sh: how, with their defaults.
bits=""                 # width of the weights; 8 by default
act_bits=""             # width of layers' inputs; 8 by default
config=""               # a configuration in YAML, instead of a preset
