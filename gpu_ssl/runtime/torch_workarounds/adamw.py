"""torch's optimizers import torch's compiler (0.8 s) to exclude their methods from compilation.

Upstream: the decorator `torch._disable_dynamo` imports `torch._dynamo` when such a method is first called;
pytorch/pytorch#89902 discusses why it is hard to separate. To be removed when a step of `torch.optim.AdamW`
no longer adds `torch._dynamo` to `sys.modules`.
"""

import inspect

import torch


class AdamW(torch.optim.AdamW):
    """AdamW whose methods are not wrapped for the compiler."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
