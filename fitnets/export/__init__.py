"""A finished student as files that run elsewhere: ONNX, a torch.export program, and what they are like."""
