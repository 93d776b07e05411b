"""Acoustic models: a front end, a recurrent stack and a softmax, as plain `nn.Module`s."""
