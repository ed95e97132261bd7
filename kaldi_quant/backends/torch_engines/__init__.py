"""PyTorch's own quantization: the one place that uses ``torch.ao.quantization``, ``torchao`` and quantized tensors.

What it makes is a ``QuantizedNetwork`` like any other: saved, exported and compared in the same way. What runs it,
``TorchNetwork``, multiplies in PyTorch's integer kernels.

PyTorch is replacing what is used here, so all of it stays behind this package's few functions:

- ``torch.ao.quantization.prepare``, ``prepare_qat``, ``convert`` and ``quantize_dynamic`` (the route ``eager``; they
  work in torch 2.13 and are deprecated) give way to ``torchao.quantization.pt2e``: ``prepare_pt2e``,
  ``prepare_qat_pt2e``, ``convert_pt2e`` and ``X86InductorQuantizer`` on exported graphs (the route ``pt2e``).
- Tensors of the types quint8 and qint8, and ``torch.ops.quantized.linear`` and ``add`` on them (the engines x86, fbgemm
  and qnnpack) give way to plain uint8 and int8 tensors whose scales are arguments, as in
  ``torch.ops.onednn.qlinear_pointwise`` (the engine onednn), which is what exported graphs are lowered to.
"""
