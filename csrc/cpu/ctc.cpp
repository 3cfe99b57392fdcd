// Connectionist temporal classification (Graves et al., 2006): the probability of a label sequence
// is a sum over its alignments, by the forward-backward algorithm on logarithms.
//
// The states of a sequence l of S labels are l' = blank, l_1, blank, l_2, ... blank: 2 S + 1. A
// step in time stays, goes one state on, or over a blank between two different labels.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

template <class R>
constexpr R kNever = -std::numeric_limits<R>::infinity();

// log(e^a + e^b + e^c), where a may be the only one that isn't -inf.
template <class R>
R log_sum(R a, R b, R c = kNever<R>) {
  R m = std::max({a, b, c});
  if (m == kNever<R>) m = 0;
  return std::log(std::exp(a - m) + std::exp(b - m) + std::exp(c - m)) + m;
}

// What both directions read: (T, N, C) log probabilities, labels, lengths, the blank.
struct Problem {
  TensorRef log_probs, targets, input_lengths, target_lengths;
  int64_t T, N, C, blank, longest = 0;
  std::vector<const int64_t*> labels;  // where each sequence's begin

  // args: log_probs, targets, input_lengths, target_lengths; then, at `blank_at`, the blank.
  Problem(const Value* args, int blank_at)
      : log_probs(contiguous(args[0].t())),
        targets(to_dtype(*contiguous(args[1].t()), DType::I64)),
        input_lengths(to_dtype(*contiguous(args[2].t()), DType::I64)),
        target_lengths(to_dtype(*contiguous(args[3].t()), DType::I64)),
        T(log_probs->layout->size(0)),
        N(log_probs->layout->size(1)),
        C(log_probs->layout->size(2)),
        blank(args[blank_at].to_int()) {
    const bool padded = targets->ndim() == 2;
    const int64_t* l = targets->as<int64_t>();
    labels.resize(N);
    for (int64_t n = 0, at = 0; n < N; ++n) {
      labels[n] = l + (padded ? n * targets->layout->size(1) : at);
      at += target_length(n);
      longest = std::max(longest, target_length(n));
    }
  }
  int64_t input_length(int64_t n) const { return input_lengths->as<int64_t>()[n]; }
  int64_t target_length(int64_t n) const { return target_lengths->as<int64_t>()[n]; }
  int64_t states() const { return 2 * longest + 1; }
  int64_t label(int64_t n, int64_t s) const { return s % 2 ? labels[n][s / 2] : blank; }
  bool may_skip_to(int64_t n, int64_t s) const {
    return s > 1 && s % 2 && labels[n][s / 2] != labels[n][s / 2 - 1];
  }
  template <class R>
  const R* at(int64_t t, int64_t n) const {
    return log_probs->as<R>() + (t * N + n) * C;
  }
};

void check_lengths(const Problem& p) {
  if (p.blank < 0 || p.blank >= p.C) {
    fail(Error::Runtime, "blank must be in label range, [0, ", p.C, "); got ", p.blank);
  }
  int64_t total = 0;
  for (int64_t n = 0; n < p.N; ++n) {
    if (p.input_length(n) < 0 || p.input_length(n) > p.T) {
      fail(Error::Runtime, "Expected input_lengths to have value at most ", p.T, ", but got value ",
           p.input_length(n));
    }
    if (p.target_length(n) < 0) {
      fail(Error::Runtime, "Expected target_lengths to be non-negative, but got value ",
           p.target_length(n));
    }
    total += p.target_length(n);
  }
  const bool padded = p.targets->ndim() == 2;
  const int64_t given = p.targets->layout->size(padded ? 1 : 0);
  if (padded ? p.longest > given : total != given) {
    fail(Error::Runtime, "Expected tensor to have size ", padded ? "at least " : "",
         padded ? p.longest : total, " at dimension ", padded ? 1 : 0, ", but got size ", given,
         " for targets");
  }
  for (int64_t n = 0; n < p.N; ++n) {
    for (int64_t s = 0; s < p.target_length(n); ++s) {
      if (p.labels[n][s] < 0 || p.labels[n][s] >= p.C) {
        fail(Error::Index, "targets must be labels in [0, ", p.C, "); got ", p.labels[n][s]);
      }
    }
  }
}

void check_floats(const Tensor& log_probs) {
  if (log_probs.dtype != DType::F32 && log_probs.dtype != DType::F64) {
    fail(Error::NotImplemented, "not implemented for '", info(log_probs.dtype).legacy, "'");
  }
}
template <class F>
void with_float_type(DType t, const F& body) {
  if (t == DType::F64) return body(TypeTag<double>{});
  body(TypeTag<float>{});
}

// _ctc_loss(log_probs, targets, input_lengths, target_lengths, blank)
//     -> (negative log likelihood (N), log_alpha (N, T, states))
void run_ctc(Call& c) {
  check_floats(c.args[0].t());
  const Problem p(c.args, 4);
  check_lengths(p);
  const int64_t states = p.states(), alphas[] = {p.N, p.T, states};
  Tensor& loss = push_empty(c, {&p.N, 1}, p.log_probs->dtype);
  Tensor& log_alpha = push_empty(c, {alphas, 3}, p.log_probs->dtype);
  with_float_type(p.log_probs->dtype, [&](auto tag) {
    using R = typename decltype(tag)::type;
    R* const losses = loss.as<R>();
    R* const all = log_alpha.as<R>();
    parallel_for(p.N, grain_of(p.N, 32.0 * p.N * p.T * states), 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const int64_t length = p.input_length(n), used = 2 * p.target_length(n) + 1;
        R* a = all + n * p.T * states;
        std::fill(a, a + p.T * states, kNever<R>);
        if (length == 0) {
          losses[n] = used == 1 ? R(0) : -kNever<R>;
          continue;
        }
        a[0] = p.at<R>(0, n)[p.blank];
        if (used > 1) a[1] = p.at<R>(0, n)[p.label(n, 1)];
        for (int64_t t = 1; t < length; ++t) {
          const R* before = a;
          a += states;
          for (int64_t s = 0; s < used; ++s) {
            const R skip = p.may_skip_to(n, s) ? before[s - 2] : kNever<R>;
            a[s] = log_sum(before[s], s > 0 ? before[s - 1] : kNever<R>, skip) +
                   p.at<R>(t, n)[p.label(n, s)];
          }
        }
        losses[n] = -log_sum(a[used - 1], used > 1 ? a[used - 2] : kNever<R>);
      }
    });
  });
}
TM_NATIVE("_ctc_loss", nullptr, run_ctc);

// _ctc_loss_backward(log_probs, targets, input_lengths, target_lengths, grad, loss, log_alpha,
//                    blank, zero_infinity): the gradient with respect to log_probs.
//
// It is that of probabilities which sum to 1 (those of a log_softmax): p - (the share of label k at
// time t in the likelihood), as PyTorch has it.
void infer_ctc_backward(Call& c) {
  const Tensor& t = c.args[0].t();
  c.outs.push(empty(t.sizes(), t.dtype, t.device()));
}
void run_ctc_backward(Call& c) {
  const Problem p(c.args, 7);
  TensorRef grad = contiguous(c.args[4].t());
  const Tensor& loss = c.args[5].t();
  const bool zero_infinity = c.args[8].to_bool();
  const int64_t states = p.states();
  with_float_type(p.log_probs->dtype, [&](auto tag) {
    using R = typename decltype(tag)::type;
    R* const out = c.outs[0]->as<R>();
    const R* const g = grad->as<R>();
    const R* const losses = loss.as<R>();
    const R* const all = c.args[6].t().as<R>();
    std::fill(out, out + p.T * p.N * p.C, R(0));
    parallel_for(p.N, grain_of(p.N, 32.0 * p.N * p.T * states), 1, [&](int64_t begin, int64_t end) {
      std::vector<R> beta(states), after(states), share(p.C);
      for (int64_t n = begin; n < end; ++n) {
        if (zero_infinity && losses[n] == -kNever<R>) continue;
        const int64_t length = p.input_length(n), used = 2 * p.target_length(n) + 1;
        for (int64_t t = length - 1; t >= 0; --t) {
          const R* lp = p.at<R>(t, n);
          const R* alpha = all + (n * p.T + t) * states;
          std::swap(beta, after);
          for (int64_t s = 0; s < used; ++s) {
            R rest;
            if (t == length - 1) {
              rest = s >= used - 2 ? R(0) : kNever<R>;
            } else {
              rest = log_sum(after[s], s + 1 < used ? after[s + 1] : kNever<R>,
                             s + 2 < used && p.may_skip_to(n, s + 2) ? after[s + 2] : kNever<R>);
            }
            beta[s] = rest + lp[p.label(n, s)];
          }
          std::fill(share.begin(), share.end(), kNever<R>);
          for (int64_t s = 0; s < used; ++s) {
            R& k = share[p.label(n, s)];
            k = log_sum(k, alpha[s] + beta[s]);
          }
          R* to = out + (t * p.N + n) * p.C;
          for (int64_t k = 0; k < p.C; ++k) {
            to[k] = (std::exp(lp[k]) - std::exp(share[k] + losses[n] - lp[k])) * g[n];
          }
        }
      }
    });
  });
}
TM_NATIVE("_ctc_loss_backward", infer_ctc_backward, run_ctc_backward);

}  // namespace
}  // namespace taimatsu
