"""Networks that clean spectra: a mask, or the clean magnitude, for each bin of each frame."""
