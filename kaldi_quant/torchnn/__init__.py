"""Networks written in ``torch.nn``: how they are traced, prepared and run for the quantizer."""
