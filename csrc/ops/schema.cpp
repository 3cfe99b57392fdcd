// Parsing of schema strings. It happens once per op, at registration.
#include "ops/schema.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace taimatsu {
namespace {

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  Schema schema() {
    Schema s;
    s.text = text_;
    s.name = word();
    if (take('.')) s.overload = word();
    expect('(');
    bool keyword_only = false;
    while (!take(')')) {
      if (take('*')) {
        keyword_only = true;
      } else {
        s.params.push_back(param(keyword_only));
      }
      take(',');
    }
    if (take('-')) {
      expect('>');
      if (take('(')) {
        while (!take(')')) {
          s.returns.push_back(result());
          take(',');
        }
      } else {
        s.returns.push_back(result());
      }
    }
    if (s.params.size() > kMaxArgs) broken("too many parameters");
    s.params.shrink_to_fit();  // they stay
    return s;
  }

 private:
  struct Spelling {
    const char* name;
    Type type;
    Role role;
  };

  Spelling spelling() {
    static const Spelling all[] = {
        {"Tensor", Type::Tensor, Role::Plain},
        {"Row", Type::Tensor, Role::Row},
        {"Cell", Type::Tensor, Role::Cell},
        {"Shared", Type::Tensor, Role::Shared},
        {"Index", Type::Tensor, Role::Index},
        {"Number", Type::Number, Role::Plain},
        {"int", Type::Int, Role::Plain},
        {"float", Type::Float, Role::Plain},
        {"bool", Type::Bool, Role::Plain},
        {"str", Type::String, Role::Plain},
        {"DType", Type::DType, Role::Plain},
        {"Layout", Type::Layout, Role::Plain},
        {"Device", Type::Device, Role::Plain},
        {"MemoryFormat", Type::MemoryFormat, Role::Plain},
        {"Generator", Type::Generator, Role::Plain},
        {"Any", Type::Any, Role::Plain},
        // PyTorch's own spellings
        {"Scalar", Type::Number, Role::Plain},
        {"SymInt", Type::Int, Role::Plain},
        {"ScalarType", Type::DType, Role::Plain},
    };
    std::string name = word();
    for (const Spelling& s : all) {
      if (name == s.name) return s;
    }
    broken(concat("unknown type '", name, "'"));
  }

  void type(Param& p) {
    Spelling s = spelling();
    p.type = s.type;
    p.role = s.role;
    if (take('(')) {  // Tensor(a!), Tensor(a)
      while (peek() != ')') {
        if (text_[at_] == '!') p.written = true;
        ++at_;
      }
      expect(')');
    }
    if (take('|')) {
      if (word() != "Number" || p.type != Type::Tensor) broken("only Tensor|Number is a union");
      p.type = Type::TensorOrNumber;
    }
    if (take('?')) p.optional = true;
    if (take('[')) {
      p.optional_items = std::exchange(p.optional, false);
      if (std::isdigit(peek())) p.list_size = std::atoi(word().c_str());
      expect(']');
      switch (p.type) {
        case Type::Tensor: p.type = Type::Tensors; break;
        case Type::Int: p.type = Type::Ints; break;
        case Type::Float: p.type = Type::Floats; break;
        case Type::Bool: p.type = Type::Bools; break;
        default: broken("there are no lists of that type");
      }
      if (take('?')) p.optional = true;
    }
  }

  Param param(bool keyword_only) {
    Param p;
    type(p);
    p.keyword_only = keyword_only;
    p.name = word();
    p.interned = checked(PyUnicode_InternFromString(p.name.c_str()));
    p.is_static = p.type == Type::String || p.type == Type::Bool || p.type == Type::Ints ||
                  p.type == Type::Bools || p.type == Type::Floats || p.type == Type::DType;
    if (take('=')) {
      p.has_default = true;
      p.default_value = literal(p);
    }
    return p;
  }

  Return result() {
    Param p;
    type(p);
    Return r{"", p.type, p.role};
    if (std::isalpha(peek()) || peek() == '_') r.name = word();
    return r;
  }

  Value literal(const Param& p) {
    char c = peek();
    if (c == '\'' || c == '"') {
      size_t end = text_.find(c, at_ + 1);
      std::string s = text_.substr(at_ + 1, end - at_ - 1);
      at_ = end + 1;
      // Interned strings live as long as the process, and so do the defaults.
      return Value::of_string(
          PyUnicode_AsUTF8AndSize(checked(PyUnicode_InternFromString(s.c_str())), nullptr));
    }
    if (c == '[') {
      ++at_;
      auto* ints = new std::vector<int64_t>;  // lives as long as the schema: for ever
      while (!take(']')) {
        ints->push_back(std::atoll(word().c_str()));
        take(',');
      }
      return Value(Ints(*ints));
    }
    std::string w = word();
    if (w == "None") return Value();
    if (w == "True" || w == "False") return Value::of_bool(w == "True");
    if (w == "contiguous_format") return Value(MemoryFormat::Contiguous);
    if (w == "preserve_format") return Value(MemoryFormat::Preserve);
    if (w.find_first_of(".einf") != std::string::npos) {
      return Value::of_float(std::strtod(w.c_str(), nullptr));
    }
    int64_t i = std::atoll(w.c_str());
    if (p.type == Type::Float) return Value::of_float(static_cast<double>(i));
    if (p.type == Type::Ints) {  // int[2] k=1
      auto* ints = new std::vector<int64_t>(std::max(1, p.list_size), i);
      return Value(Ints(*ints));
    }
    return Value::of_int(i);
  }

  void space() {
    while (at_ < text_.size() && std::isspace(text_[at_])) ++at_;
  }
  char peek() {
    space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) broken(concat("expected '", c, "'"));
  }
  std::string word() {  // a name or a number
    space();
    size_t start = at_;
    bool number = at_ < text_.size() && (std::isdigit(text_[at_]) || text_[at_] == '-');
    while (at_ < text_.size() && (std::isalnum(text_[at_]) || text_[at_] == '_' ||
                                  (number && (text_[at_] == '.' || text_[at_] == '-')))) {
      ++at_;
    }
    if (start == at_) broken("expected a word");
    return text_.substr(start, at_ - start);
  }
  [[noreturn]] void broken(const std::string& why) {
    fail(Error::Value, "schema: ", why, " at position ", at_, " of \"", text_, "\"");
  }

  const std::string& text_;
  size_t at_ = 0;
};

std::string python_literal(const Value& v) {
  Object o = Object::steal(to_python(v));
  Object r = Object::steal(checked(PyObject_Repr(o.get())));
  return PyUnicode_AsUTF8AndSize(r.get(), nullptr);
}

}  // namespace

const char* expected_type(const Param& p) {
  switch (p.type) {
    case Type::Tensor: return "Tensor";
    case Type::TensorOrNumber: return "Tensor or Number";
    case Type::Tensors: return "tuple of Tensors";
    case Type::Number: return "Number";
    case Type::Int: return "int";
    case Type::Float: return "float";
    case Type::Bool: return "bool";
    case Type::Ints: return "tuple of ints";
    case Type::Floats: return "tuple of floats";
    case Type::Bools: return "tuple of bools";
    case Type::String: return "str";
    case Type::DType: return "torch.dtype";
    case Type::Layout: return "torch.layout";
    case Type::Device: return "torch.device";
    case Type::MemoryFormat: return "torch.memory_format";
    case Type::Generator: return "torch.Generator";
    case Type::Any: return "object";
  }
  return "";
}

Schema Schema::parse(const std::string& text) {
  Schema s = Parser(text).schema();
  for (const Param& p : s.params) {
    if (!p.keyword_only) ++s.positional;
  }
  s.dtype = s.find("dtype");
  s.layout = s.find("layout");
  s.device = s.find("device");
  s.requires_grad = s.find("requires_grad");
  s.memory_format = s.find("memory_format");
  // f(2, 3) for f((2, 3)): where a list of ints is the last thing that is given by position.
  int first = !s.params.empty() && s.params[0].name == "self" ? 1 : 0;
  if (first < s.positional && s.params[first].type == Type::Ints && s.params[first].list_size < 0 &&
      first + 1 == s.positional) {
    s.varargs_ints = first;
  }
  return s;
}

int Schema::find(const std::string& param) const {
  for (size_t i = 0; i < params.size(); ++i) {
    if (params[i].name == param) return static_cast<int>(i);
  }
  return -1;
}

std::string Schema::signature() const {
  std::string out = name + "(";
  bool star = false;
  for (size_t i = 0; i < params.size(); ++i) {
    const Param& p = params[i];
    if (i) out += ", ";
    if (p.keyword_only && !star) {
      out += "*, ";
      star = true;
    }
    out += p.name == "self" ? "input" : p.name;
    if (p.has_default) out += "=" + python_literal(p.default_value);
  }
  return out + ")";
}

}  // namespace taimatsu
