"""Models for `torch.jit.script`, as programs have them, and the arguments to call them with."""
# ruff: noqa  (as programs are written)


from collections import OrderedDict
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import taimatsu as torch
import taimatsu.nn.functional as F
from taimatsu import Tensor, nn


# ---- Images -------------------------------------------------------------------------------------
class Block(nn.Module):
    expansion: int = 1

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample=None):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, block: Callable = Block, classes: int = 5):
        super().__init__()
        self.inplanes = 4
        self.stem = nn.Sequential(OrderedDict(
            conv=nn.Conv2d(3, 4, 7, 2, 3, bias=False), norm=nn.BatchNorm2d(4), act=nn.ReLU(True),
            pool=nn.MaxPool2d(3, 2, 1)))
        self.layer1 = self._layer(block, 4, 2, 1)
        self.layer2 = self._layer(block, 8, 2, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, classes)

    def _layer(self, block, planes: int, count: int, stride: int) -> nn.Sequential:
        downsample = None
        if stride != 1 or self.inplanes != planes:
            downsample = nn.Sequential(
                nn.Conv2d(self.inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))
        layers = [block(self.inplanes, planes, stride, downsample)]
        self.inplanes = planes
        layers += [block(planes, planes) for _ in range(1, count)]
        return nn.Sequential(*layers)

    def _forward_impl(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward_impl(x)


class DenseLayer(nn.Module):
    """A layer whose input is a tensor or a list of them."""

    def __init__(self, features: int, growth: int, drop: float):
        super().__init__()
        self.norm = nn.BatchNorm2d(features)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(features, growth, 3, padding="same", bias=False)
        self.drop_rate = float(drop)

    def bottleneck(self, inputs: List[Tensor]) -> Tensor:
        return self.conv(self.relu(self.norm(torch.cat(inputs, 1))))

    def forward(self, inputs: List[Tensor]) -> Tensor:
        out = self.bottleneck(inputs)
        if self.drop_rate > 0:
            out = F.dropout(out, p=self.drop_rate, training=self.training)
        return out


class DenseBlock(nn.ModuleDict):
    def __init__(self, count: int, features: int, growth: int):
        super().__init__()
        for i in range(count):
            self.add_module(f"layer{i + 1}", DenseLayer(features + i * growth, growth, 0.1))

    def forward(self, init_features: Tensor) -> Tensor:
        features = [init_features]
        for _, layer in self.items():
            features.append(layer(features))
        return torch.cat(features, 1)


# ---- Sequences ----------------------------------------------------------------------------------
LSTMState = NamedTuple("LSTMState", [("hx", Tensor), ("cx", Tensor)])


class LSTMCell(torch.jit.ScriptModule):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.randn(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.randn(4 * hidden_size))

    @torch.jit.script_method
    def forward(
        self, input: Tensor, state: Tuple[Tensor, Tensor]
    ) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
        hx, cx = state
        gates = (
            torch.mm(input, self.weight_ih.t()) + self.bias_ih
            + torch.mm(hx, self.weight_hh.t()) + self.bias_hh
        )  # fmt: skip
        ingate, forgetgate, cellgate, outgate = gates.chunk(4, 1)
        ingate = torch.sigmoid(ingate)
        forgetgate = torch.sigmoid(forgetgate)
        cellgate = torch.tanh(cellgate)
        outgate = torch.sigmoid(outgate)
        cy = (forgetgate * cx) + (ingate * cellgate)
        hy = outgate * torch.tanh(cy)
        return hy, (hy, cy)


def reverse(lst: List[Tensor]) -> List[Tensor]:
    out = torch.jit.annotate(List[Tensor], [])
    start = len(lst) - 1
    end = -1
    step = -1
    for i in range(start, end, step):
        out += [lst[i]]
    return out


class LSTMLayer(torch.jit.ScriptModule):
    def __init__(self, cell, *cell_args):
        super().__init__()
        self.cell = cell(*cell_args)

    @torch.jit.script_method
    def forward(
        self, input: Tensor, state: Tuple[Tensor, Tensor]
    ) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
        inputs = input.unbind(0)
        outputs = torch.jit.annotate(List[Tensor], [])
        for i in range(len(inputs)):
            out, state = self.cell(inputs[i], state)
            outputs += [out]
        return torch.stack(outputs), state


class ReverseLSTMLayer(torch.jit.ScriptModule):
    def __init__(self, cell, *cell_args):
        super().__init__()
        self.cell = cell(*cell_args)

    @torch.jit.script_method
    def forward(self, input, state):
        # type: (Tensor, Tuple[Tensor, Tensor]) -> Tuple[Tensor, Tuple[Tensor, Tensor]]
        inputs = reverse(input.unbind(0))
        outputs = torch.jit.annotate(List[Tensor], [])
        for i in range(len(inputs)):
            out, state = self.cell(inputs[i], state)
            outputs += [out]
        return torch.stack(reverse(outputs)), state


class BidirLSTMLayer(torch.jit.ScriptModule):
    __constants__ = ["directions"]

    def __init__(self, cell, *cell_args):
        super().__init__()
        self.directions = nn.ModuleList(
            [LSTMLayer(cell, *cell_args), ReverseLSTMLayer(cell, *cell_args)]
        )

    @torch.jit.script_method
    def forward(self, input, states):
        # type: (Tensor, List[Tuple[Tensor, Tensor]]) -> Tuple[Tensor, List[Tuple[Tensor, Tensor]]]
        outputs = torch.jit.annotate(List[Tensor], [])
        output_states = torch.jit.annotate(List[Tuple[Tensor, Tensor]], [])
        i = 0
        for direction in self.directions:
            state = states[i]
            out, out_state = direction(input, state)
            outputs += [out]
            output_states += [out_state]
            i += 1
        return torch.cat(outputs, -1), output_states


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(10, 4)
        self.cell = nn.GRUCell(4, 4)
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(4, 2)})

    def forward(
        self, ids: Tensor, state: Optional[Tuple[Tensor, Tensor]] = None
    ) -> Dict[str, Tensor]:
        x, (h, c) = self.lstm(self.embedding(ids), state)
        x, last = self.gru(x)
        out: Dict[str, Tensor] = {"h": h, "c": c, "cell": self.cell(x[:, 0])}
        for name, head in self.heads.items():
            out[name] = F.softmax(head(x), dim=-1)
        out["direct"] = self.heads["a"](last)
        return out


class Attention(nn.Module):
    scale: torch.jit.Final[float]

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q @ k.transpose(-2, -1)) * self.scale
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        out = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, d)
        return self.proj(out)


class Transformer(nn.Module):
    def __init__(self, dim: int = 8, heads: int = 2, depth: int = 2):
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 16, dim))
        self.blocks = nn.ModuleList([nn.ModuleList(
            [nn.LayerNorm(dim), Attention(dim, heads), nn.LayerNorm(dim),
             nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))])
            for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("calls", torch.zeros(1), persistent=False)
        self.count = 0

    @torch.jit.export
    def embed(self, x: Tensor) -> Tensor:
        return x + self.position[:, : x.size(1)]

    def forward(self, x: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        self.count += 1
        x = self.embed(x)
        for block in self.blocks:
            x = x + block[1](block[0](x), mask)
            x = x + block[3](block[2](x))
        return self.norm(x)


# ---- Detection ----------------------------------------------------------------------------------
class Detections(NamedTuple):
    boxes: Tensor
    scores: Tensor
    labels: Tensor


def iou(a: Tensor, b: Tensor) -> Tensor:
    def_area = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    other = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    low = torch.max(a[:, None, :2], b[:, :2])
    high = torch.min(a[:, None, 2:], b[:, 2:])
    size = (high - low).clamp(min=0)
    inter = size[:, :, 0] * size[:, :, 1]
    return inter / (def_area[:, None] + other - inter)


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    order = scores.argsort(descending=True)
    keep: List[int] = []
    while order.numel() > 0:
        i = int(order[0].item())
        keep.append(i)
        if order.numel() == 1:
            break
        overlaps = iou(boxes[i : i + 1], boxes[order[1:]])[0]
        order = order[1:][overlaps <= threshold]
    return torch.tensor(keep, dtype=torch.long)


class PostProcess(nn.Module):
    def __init__(self, threshold: float = 0.5, top: int = 3):
        super().__init__()
        self.threshold, self.top = threshold, top

    def one(self, boxes: Tensor, logits: Tensor) -> Detections:
        scores, labels = logits.softmax(-1).max(-1)
        keep = nms(boxes, scores, self.threshold)[: self.top]
        return Detections(boxes[keep], scores[keep], labels[keep])

    def forward(
        self, boxes: List[Tensor], logits: List[Tensor]
    ) -> Tuple[List[Dict[str, Tensor]], int]:
        results: List[Dict[str, Tensor]] = []
        total = 0
        for box, logit in zip(boxes, logits):
            found = self.one(box, logit)
            total += len(found.boxes)
            results.append({"boxes": found.boxes, "scores": found.scores, "labels": found.labels})
        return results, total


def _boxes(n: int) -> Tensor:
    corner = torch.rand(n, 2)
    return torch.cat([corner, corner + 0.1 + torch.rand(n, 2)], 1)


def cases() -> dict:
    """Names: a module and the arguments of calls."""
    torch.manual_seed(0)
    states = [(torch.randn(2, 4), torch.randn(2, 4)) for _ in range(2)]
    ids, mask = torch.randint(0, 11, (2, 5)), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return {
        "resnet": (ResNet().eval(), [(torch.randn(1, 3, 32, 32),)]),
        "dense": (DenseBlock(2, 4, 3).eval(), [(torch.randn(1, 4, 6, 6),)]),
        "custom lstm": (BidirLSTMLayer(LSTMCell, 3, 4), [(torch.randn(5, 2, 3), states)]),
        "tagger": (Tagger().eval(), [(ids,), (ids, (torch.randn(4, 2, 5), torch.randn(4, 2, 5)))]),
        "transformer": (Transformer().eval(), [(torch.randn(2, 5, 8),),
                                               (torch.randn(2, 5, 8), mask)]),
        "detection": (PostProcess(), [([_boxes(6), _boxes(4)],
                                       [torch.randn(6, 3), torch.randn(4, 3)])]),
    }  # fmt: skip


def layers() -> list:
    """This package's layers, and an input of each."""
    image, rows = torch.randn(2, 4, 8, 8), torch.randn(3, 4)
    sequence, volume = torch.randn(2, 4, 9), torch.randn(1, 2, 4, 4, 4)
    return [
        *((layer, rows) for layer in (
            nn.Linear(4, 3), nn.ReLU(), nn.ReLU6(), nn.SELU(), nn.CELU(), nn.ELU(), nn.GELU(),
            nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Sigmoid(), nn.Tanh(),
            nn.Hardtanh(), nn.Hardsigmoid(), nn.Hardswish(), nn.LeakyReLU(), nn.LogSigmoid(),
            nn.Softshrink(), nn.Hardshrink(), nn.Tanhshrink(), nn.Softsign(), nn.Threshold(0, 1),
            nn.PReLU(), nn.GLU(), nn.Softmax(-1), nn.LogSoftmax(-1), nn.Softmin(-1), nn.LayerNorm(4),
            nn.BatchNorm1d(4), nn.RMSNorm(4), nn.Flatten(), nn.Identity(), nn.Dropout(0.5),
            nn.AlphaDropout(0.5), nn.BatchNorm1d(4, track_running_stats=False),
        )),
        *((layer, image) for layer in (
            nn.Conv2d(4, 2, 3), nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
            nn.Conv2d(4, 2, 3, padding="same"), nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"),
            nn.ConvTranspose2d(4, 2, 3, stride=2), nn.BatchNorm2d(4), nn.InstanceNorm2d(4),
            nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.GroupNorm(2, 4),
            nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2),
            nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((2, None)), nn.AdaptiveMaxPool2d(2),
            nn.LPPool2d(2, 2), nn.Upsample(scale_factor=2), nn.PixelShuffle(2), nn.PixelUnshuffle(2),
            nn.Upsample(size=(5, 5), mode="bilinear", align_corners=True), nn.ZeroPad2d(1),
            nn.ReflectionPad2d(1), nn.ReplicationPad2d((1, 2, 0, 1)), nn.ConstantPad2d(1, 0.5),
            nn.CircularPad2d(1), nn.Dropout2d(0.5), nn.Unfold(2), nn.LocalResponseNorm(2),
            nn.ChannelShuffle(2), nn.Unflatten(1, (2, 2)), nn.Softmax2d(),
        )),
        *((layer, sequence) for layer in (
            nn.Conv1d(4, 2, 3), nn.ConvTranspose1d(4, 2, 3), nn.MaxPool1d(2), nn.AvgPool1d(2),
            nn.AdaptiveAvgPool1d(3), nn.AdaptiveMaxPool1d(3), nn.BatchNorm1d(4), nn.LSTM(9, 3),
            nn.GRU(9, 3), nn.RNN(9, 3), nn.LSTM(9, 4, proj_size=2), nn.ConstantPad1d(1, 0.0),
        )),
        *((layer, volume) for layer in (
            nn.Conv3d(2, 3, 2), nn.MaxPool3d(2), nn.AvgPool3d(2), nn.BatchNorm3d(2),
            nn.AdaptiveAvgPool3d(2), nn.ConvTranspose3d(2, 1, 2),
        )),
        (nn.Embedding(5, 3), torch.tensor([[0, 4]])), (nn.RNNCell(4, 3), rows),
        (nn.LSTMCell(4, 3), rows), (nn.GRUCell(4, 3), rows),
    ]  # fmt: skip


def attentions() -> list:
    """Layers of attention, and their arguments."""
    x, memory = torch.randn(3, 2, 8), torch.randn(4, 2, 8)
    first, padding = x.transpose(0, 1), torch.tensor([[False, False, True], [False] * 3])
    causal = nn.Transformer.generate_square_subsequent_mask(3)
    options = {"d_model": 8, "nhead": 2, "dim_feedforward": 12}
    encoder = nn.TransformerEncoderLayer(**options)
    return [
        (nn.MultiheadAttention(8, 2), (x, memory, memory)),
        (nn.MultiheadAttention(8, 2, batch_first=True), (first, first, first, padding)),
        (nn.MultiheadAttention(8, 2, kdim=8, vdim=8, add_bias_kv=True, add_zero_attn=True),
         (x, x, x, padding, True, causal, False)),
        (encoder, (x, causal)),
        (nn.TransformerEncoderLayer(**options, norm_first=True, activation=nn.GELU()), (x,)),
        (nn.TransformerDecoderLayer(**options), (x, memory, causal)),
        (nn.TransformerEncoder(encoder, 2, nn.LayerNorm(8)), (x, None, padding)),
        (nn.Transformer(8, 2, 1, 1, 12), (memory, x, None, causal)),
    ]  # fmt: skip


def losses() -> list:
    """Losses, and what they compare."""
    x, y, classes = torch.randn(3, 4), torch.rand(3, 4), torch.tensor([0, 3, 1])
    signs = torch.tensor([1.0, -1.0, 1.0])
    return [
        (nn.MSELoss(), (x, y)), (nn.L1Loss(reduction="sum"), (x, y)), (nn.SmoothL1Loss(), (x, y)),
        (nn.HuberLoss(), (x, y)), (nn.BCELoss(), (y, y)), (nn.BCEWithLogitsLoss(), (x, y)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), (x, classes)), (nn.KLDivLoss(), (x, y)),
        (nn.NLLLoss(reduction="none"), (x, classes)), (nn.CosineSimilarity(), (x, y)),
        (nn.PairwiseDistance(), (x, y)), (nn.CosineEmbeddingLoss(), (x, y, signs)),
        (nn.MarginRankingLoss(), (x[:, 0], y[:, 0], signs)), (nn.TripletMarginLoss(), (x, y, x + 1)),
        (nn.SoftMarginLoss(), (x[:, 0], signs)), (nn.HingeEmbeddingLoss(), (x[:, 0], signs)),
        (nn.MultiMarginLoss(), (x, classes)), (nn.PoissonNLLLoss(), (x, y)),
        (nn.GaussianNLLLoss(), (x, y, y)), (nn.MultiLabelSoftMarginLoss(), (x, (y > 0.5).float())),
        (nn.Bilinear(4, 4, 2), (x, y)),
    ]  # fmt: skip
