"""torch's AdamW without torch's compiler."""

import inspect

import torch


class AdamW(torch.optim.AdamW):
    """AdamW without torch's compiler, which it imports (0.8 s) to tell it to keep away from these methods."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
