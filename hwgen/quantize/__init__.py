"""Post-training quantization: a float checkpoint and calibration images give a quantized description."""
