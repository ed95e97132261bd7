"""PyTorch's observers of activations, as configurations name them; light to import."""

#: For each name the class for a tensor, and the one that does the same for each column of network inputs.
OBSERVERS = {
    "minmax": ("MinMaxObserver", "PerChannelMinMaxObserver"),
    "moving-average": ("MovingAverageMinMaxObserver", "MovingAveragePerChannelMinMaxObserver"),
    "histogram": ("HistogramObserver", "PerChannelMinMaxObserver"),
}
