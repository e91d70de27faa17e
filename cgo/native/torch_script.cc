// torch_script.cc: networks from elsewhere, as TorchScript. The one file that
// includes torch/script.h, which takes long to compile.
#include <torch/script.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "torch.h"

struct nln_script : nln::Counted {
  torch::jit::Module module;
  std::string path;
  nln_script(torch::jit::Module m, std::string p) : module(std::move(m)), path(std::move(p)) {}
};

using namespace nln;

namespace {

// check_readable tells a file that cannot be read from one that is no TorchScript.
void check_readable(const std::string &path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE *)> f(std::fopen(path.c_str(), "rb"), std::fclose);
  if (f && (std::fgetc(f.get()) != EOF || !std::ferror(f.get()))) return;
  throw Error(NLN_IO, path + ": " + std::strerror(errno));
}

// The line of a message that says what is wrong: the interpreter puts the script's
// own lines before it, and libtorch a trace of the stack after it.
std::string reason(std::string what) {
  const size_t stack = what.find("\nException raised from");
  if (stack != std::string::npos) what.resize(stack);
  const bool trace = what.find("Traceback of TorchScript") != std::string::npos;
  const size_t error = trace ? what.rfind("\nRuntimeError: ") : 0;
  if (trace && error == std::string::npos) {  // raised by the script, on the last line
    const size_t end = what.find_last_not_of(" \n");
    const size_t begin = what.find_last_of('\n', end);
    return what.substr(begin + 1, end - begin);
  }
  const size_t begin = what.find_first_not_of(" \n", error);
  return begin == std::string::npos ? what : what.substr(begin, what.find('\n', begin) - begin);
}

bool lacks_memory(const std::string &what) {
  for (const char *s : {"not enough memory", "can't allocate memory", "out of memory"}) {
    if (what.find(s) != std::string::npos) return true;
  }
  return false;
}

// of_file calls body and has what it throws begin with the path and step.
template <class Body>
auto of_file(const std::string &path, const char *step, Body &&body) {
  try {
    return body();
  } catch (const Error &e) {
    throw Error(e.code, path + ": " + e.what());
  } catch (const std::bad_alloc &) {
    throw;
  } catch (const std::exception &e) {
    throw Error(lacks_memory(e.what()) ? NLN_NO_MEMORY : NLN_INVALID, path + ": " + step + reason(e.what()));
  }
}

// as_rows returns a copy of a script's result as n rows of float32.
at::Tensor as_rows(const at::IValue &result, int64_t n) {
  if (!result.isTensor()) invalid("the script gives a " + result.tagKind() + ", want a tensor");
  at::Tensor t = result.toTensor();
  if (!t.defined() || t.layout() != at::kStrided || t.is_quantized() || t.is_complex()) {
    invalid("the script gives a tensor that is not of plain numbers");
  }
  if (t.dim() < 1 || t.size(0) != n) {
    invalid("the script gives a tensor of shape " + c10::str(t.sizes()) + ", want " + std::to_string(n) + " rows");
  }
  if (t.numel() == 0) invalid("the script gives a tensor of shape " + c10::str(t.sizes()) + ", which is empty");
  t = t.reshape({n, -1}).to(at::kFloat, false, true).contiguous();
  if (!at::isfinite(t).all().item<bool>()) invalid("the script gives values that are not finite");
  return t;
}

}  // namespace

nln_status nln_script_load(const char *path, int32_t dev, nln_script **out) {
  return run("load script", [&] {
    const std::string name = path;
    check_readable(name);
    const at::Device d = device(dev);
    *out = of_file(name, "not a TorchScript file: ", [&] {
      torch::jit::Module m = torch::jit::load(name, d);
      m.eval();
      if (!m.find_method("forward")) invalid("the script has no method forward");
      return new nln_script(std::move(m), name);
    });
  });
}

void nln_script_free(nln_script *s) { delete s; }

nln_status nln_script_forward(nln_script *s, nln_tensor *x, nln_tensor **out) {
  return make("run script", out, [&] {
    return of_file(s->path, "the script failed: ", [&] {
      if (x->t.dim() < 1 || x->t.size(0) < 1) invalid("have shape " + c10::str(x->t.sizes()) + ", want at least 1 row");
      const at::NoGradGuard no_grad;
      const torch::jit::GraphOptimizerEnabledGuard as_written(false);
      return as_rows(s->module.forward({x->t}), x->t.size(0));
    });
  });
}
