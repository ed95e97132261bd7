"""The STM32 model zoo's services for speech enhancement: a YAML file says what is trained, scored, quantized, built."""
