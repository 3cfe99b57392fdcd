"""REINFORCE and actor-critic on a walk along a line, by distributions' log_prob."""

from collections import namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

SavedAction = namedtuple("SavedAction", ["log_prob", "value"])
torch.manual_seed(543)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(3, 32)
        self.action_head = nn.Linear(32, 2)
        self.value_head = nn.Linear(32, 1)
        self.saved_actions, self.rewards = [], []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


def state_of(position):
    return torch.tensor([position / 5, (position / 5) ** 2, 1.0])


def select_action(model, position):
    probs, value = model(state_of(position))
    m = Categorical(probs)
    action = m.sample()
    model.saved_actions.append(SavedAction(m.log_prob(action), value))
    return action.item()


def finish_episode(model, optimizer):
    R, returns = 0, []
    for r in model.rewards[::-1]:
        R = r + 0.95 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + torch.finfo(torch.float32).eps)
    policy_losses, value_losses = [], []
    for (log_prob, value), R in zip(model.saved_actions, returns, strict=True):
        policy_losses.append(-log_prob * (R - value.item()))
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    del model.rewards[:], model.saved_actions[:]
    return loss.item()


model = Policy()
optimizer = optim.Adam(model.parameters(), lr=3e-2)
running = 0.0
for episode in range(60):
    position, total = 0, 0.0
    for _ in range(10):
        position += 1 if select_action(model, position) else -1
        reward = float(position)
        model.rewards.append(reward)
        total += reward
    finish_episode(model, optimizer)
    running = total if episode == 0 else 0.9 * running + 0.1 * total
print(f"running reward {running:.1f}")
assert running > 30  # 55 is the best there is
