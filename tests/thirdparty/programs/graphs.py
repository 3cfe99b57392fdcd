"""Graph convolution and graph attention on two communities of nodes."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Adam

torch.manual_seed(42)


class GraphConv(nn.Module):
    def __init__(self, n_in, n_out, use_bias=False):
        super().__init__()
        self.kernel = nn.Parameter(torch.Tensor(n_in, n_out))
        nn.init.xavier_normal_(self.kernel)
        self.bias = None
        if use_bias:
            self.bias = nn.Parameter(torch.Tensor(n_out))
            nn.init.zeros_(self.bias)

    def forward(self, x, adj):
        out = torch.mm(adj, torch.mm(x, self.kernel))
        return out if self.bias is None else out + self.bias


class GraphAttention(nn.Module):
    def __init__(self, n_in, n_out, heads):
        super().__init__()
        self.heads, self.n = heads, n_out // heads
        self.W = nn.Parameter(torch.empty(size=(n_in, n_out)))
        self.a = nn.Parameter(torch.empty(size=(heads, 2 * self.n, 1)))
        for p in self.parameters():
            nn.init.xavier_normal_(p)

    def forward(self, h, adj):
        n = h.shape[0]
        h = torch.mm(h, self.W).view(n, self.heads, self.n).permute(1, 0, 2)
        source = torch.matmul(h, self.a[:, : self.n, :])
        target = torch.matmul(h, self.a[:, self.n :, :])
        e = F.leaky_relu(source + target.mT, 0.2)
        e = torch.where(adj > 0, e, torch.full_like(e, -9e16))
        return torch.matmul(F.softmax(e, dim=-1), h).permute(1, 0, 2).reshape(n, -1)


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.first = GraphConv(16, 8, True) if kind == "gcn" else GraphAttention(16, 8, 4)
        self.second = GraphConv(8, 2) if kind == "gcn" else GraphAttention(8, 2, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x, adj):
        x = self.dropout(F.elu(self.first(x, adj)))
        return F.log_softmax(self.second(x, adj), dim=1)


n = 60
labels = (torch.arange(n) >= n // 2).long()
same = labels[:, None] == labels[None, :]
edges = torch.rand(n, n) < torch.where(same, 0.3, 0.02)
adj = (edges | edges.T).float().fill_diagonal_(1)
inverse = adj.sum(1).pow(-0.5)
normal = inverse[:, None] * adj * inverse
features = torch.randn(n, 16) + 0.5 * labels[:, None]
order = torch.randperm(n)
train, test = order[:12], order[12:]
for kind, a in (("gcn", normal), ("gat", adj)):
    model = Net(kind)
    optimizer = Adam(model.parameters(), lr=0.02, weight_decay=5e-4)
    for _ in range(80):
        model.train()
        optimizer.zero_grad()
        loss = F.nll_loss(model(features, a)[train], labels[train])
        loss.backward()
        optimizer.step()
    model.eval()
    accuracy = (model(features, a).argmax(1)[test] == labels[test]).float().mean().item()
    print(f"{kind}: loss {loss.item():.2f} accuracy {accuracy:.2f}")
    assert accuracy > 0.8
