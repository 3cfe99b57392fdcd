"""Names by a recurrent net of linear layers, translation by a transformer, a curve by LBFGS."""

import math

import torch
import torch.nn as nn

torch.manual_seed(3)


class RNN(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)
        self.i2o = nn.Linear(input_size + hidden_size, output_size)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, input, hidden):
        combined = torch.cat((input, hidden), 1)
        return self.softmax(self.i2o(combined)), torch.tanh(self.i2h(combined))

    def initHidden(self):
        return torch.zeros(1, self.hidden_size)


letters = "abcdefghij"
rnn = RNN(len(letters), 16, 2)
criterion = nn.NLLLoss()
right = 0
for step in range(200):
    category = step % 2
    low, high = (0, 6) if category == 0 else (4, 10)
    word = torch.randint(low, high, (5,))
    line = torch.zeros(5, 1, len(letters))
    line[torch.arange(5), 0, word] = 1
    hidden = rnn.initHidden()
    rnn.zero_grad()
    for i in range(line.size(0)):
        output, hidden = rnn(line[i], hidden)
    criterion(output, torch.tensor([category])).backward()
    for p in rnn.parameters():
        p.data.add_(p.grad.data, alpha=-0.1)
    if step >= 150:
        right += output.topk(1)[1][0].item() == category
print(f"names: {right} of 50")
assert right > 35


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=64):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.size(0)]


class Translator(nn.Module):
    def __init__(self, vocab, d=32):
        super().__init__()
        self.embed = nn.Embedding(vocab, d)
        self.position = PositionalEncoding(d)
        self.transformer = nn.Transformer(d, 4, 1, 1, 64, dropout=0.0)
        self.generator = nn.Linear(d, vocab)

    def forward(self, src, tgt):
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.size(0))
        padding = (src == 1).transpose(0, 1)
        out = self.transformer(
            self.position(self.embed(src)), self.position(self.embed(tgt)), tgt_mask=mask,
            src_key_padding_mask=padding, memory_key_padding_mask=padding,
        )  # fmt: skip
        return self.generator(out)


model = Translator(12)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-9)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=150)
loss_fn = nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.05)
for _ in range(150):
    src = torch.randint(2, 12, (5, 32))
    src[4, ::4] = 1  # padding
    tgt = torch.cat([torch.zeros(1, 32, dtype=torch.long), src.flip(0)])
    logits = model(src, tgt[:-1])
    optimizer.zero_grad()
    loss = loss_fn(logits.reshape(-1, 12), tgt[1:].reshape(-1))
    loss.backward()
    optimizer.step()
    scheduler.step()
print(f"translation: {loss.item():.1f}")
assert loss.item() < 1.5

t = torch.linspace(-math.pi, math.pi, 200, dtype=torch.double)
coefficients = torch.zeros(4, dtype=torch.double, requires_grad=True)
powers = t.unsqueeze(-1).pow(torch.arange(4))
optimizer = torch.optim.LBFGS([coefficients], lr=0.8, line_search_fn="strong_wolfe")


def closure():
    optimizer.zero_grad()
    loss = ((powers @ coefficients - t.sin()) ** 2).mean()
    loss.backward()
    return loss


for _ in range(3):
    loss = optimizer.step(closure)
exact = torch.linalg.lstsq(powers, t.sin().unsqueeze(1)).solution[:, 0]
print("curve:", [round(c, 3) + 0.0 for c in coefficients.tolist()])
assert torch.allclose(coefficients, exact, atol=1e-3)
