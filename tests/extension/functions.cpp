// In PyTorch's spelling: what extensions for PyTorch are made of.
#include <torch/extension.h>

#include <vector>

#define CHECK_CPU(x) TORCH_CHECK(x.device().is_cpu(), #x " must be on the CPU")

// The long short-term memory of PyTorch's tutorial, "lltm".
std::vector<at::Tensor> lltm(torch::Tensor input, torch::Tensor weights, torch::Tensor bias,
                             torch::Tensor old_h, torch::Tensor old_cell) {
  auto X = torch::cat({old_h, input}, /*dim=*/1);
  auto gates = torch::addmm(bias, X, weights.transpose(0, 1)).chunk(3, /*dim=*/1);
  auto input_gate = torch::sigmoid(gates[0]);
  auto output_gate = torch::sigmoid(gates[1]);
  auto candidate = torch::elu(gates[2], /*alpha=*/1.0);
  auto new_cell = old_cell + candidate * input_gate;
  return {torch::tanh(new_cell) * output_gate, new_cell};
}

// a + scale * b, by a loop over elements.
at::Tensor axpy(const at::Tensor& a, const at::Tensor& b, double scale,
                std::optional<at::Tensor> more) {
  CHECK_CPU(a);
  TORCH_CHECK(a.sizes() == b.sizes(), "sizes differ: ", a.sizes(), " and ", b.sizes());
  const auto x = a.contiguous(), y = b.contiguous();
  at::Tensor out = torch::empty(x.sizes(), x.options());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "axpy", [&] {
    const scalar_t *p = x.data_ptr<scalar_t>(), *q = y.data_ptr<scalar_t>();
    scalar_t* r = out.data_ptr<scalar_t>();
    at::parallel_for(0, x.numel(), 1000, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) r[i] = p[i] + static_cast<scalar_t>(scale) * q[i];
    });
  });
  if (more) out += *more;
  return out;
}

double trace(torch::Tensor m) {
  const auto a = m.accessor<float, 2>();
  double sum = 0;
  for (int64_t i = 0; i < a.size(0) && i < a.size(1); ++i) sum += a[i][i];
  return sum;
}

std::tuple<torch::Tensor, int64_t, std::string> several(torch::Tensor x, std::vector<int64_t> dims,
                                                        bool keep, std::string text) {
  return {x.sum(dims, keep), x.size(-1), text + "!"};
}

torch::Tensor arithmetic(torch::Tensor x) {
  auto y = 1 - x * 2 + x / 4.0 - 3.0 / x;
  y = torch::where(y > 0, y, -y);
  return torch::matmul(y, y.t()).view({-1}).unsqueeze(0)[0].clamp(0.5, 100).to(torch::kFloat64);
}

void fill(torch::Tensor x, const at::Scalar& value) { x.fill_(value); }
int64_t late(torch::Tensor x) { return x.size(7); }
torch::Tensor unknown(torch::Tensor x) { return at::call("no_such_function", {x}); }
torch::Tensor broken(torch::Tensor) { throw std::runtime_error("a C++ exception"); }

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.doc() = "Functions to test with.";
  m.def("lltm", &lltm, "LLTM forward");
  m.def("axpy", &axpy, "a + scale b", py::arg("a"), py::arg("b"), py::arg("scale") = 2.0,
        py::arg("more") = py::none());
  m.def("trace", &trace);
  m.def("several", &several);
  m.def("arithmetic", &arithmetic);
  m.def("fill", &fill);
  m.def("late", &late);
  m.def("unknown", &unknown);
  m.def("broken", &broken);
}

TORCH_LIBRARY(taimatsu_test, m) {
  m.def("axpy(Tensor a, Tensor b, float scale, Tensor? more=None) -> Tensor");
}
TORCH_LIBRARY_IMPL(taimatsu_test, CPU, m) { m.impl("axpy", &axpy); }
