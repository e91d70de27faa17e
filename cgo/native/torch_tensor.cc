// torch_tensor.cc: making, reading and freeing tensors; random numbers.
#include "torch.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

// Of OpenBLAS, in whose place another BLAS may stand.
extern "C" {
__attribute__((weak)) int openblas_get_num_threads(void);
__attribute__((weak)) void openblas_set_num_threads(int);
}

using namespace nln;

namespace {

std::string quoted(const std::string &s) {
  std::string q = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') q += '\\';
    q += (c == '\n' || c == '\t') ? ' ' : c;
  }
  return q + "\"";
}

// The line of torch's configuration report that holds what, or "".
std::string config_line(const std::string &what) {
  const std::string all = at::show_config();
  const size_t at = all.find(what);
  if (at == std::string::npos) return "";
  return all.substr(at, all.find('\n', at) - at);
}

}  // namespace

namespace nln {

// libtorch keeps the number of a thread from its first call on, and setting it
// throws away what oneDNN has compiled: it is set where it has changed. OpenBLAS
// has one number for all threads, and buffers for each.
void use_threads() {
  thread_local int mine = 0;
  const int want = threads.load();
  if (mine == want) return;
  at::set_num_threads(want);
  if (openblas_set_num_threads && openblas_get_num_threads && openblas_get_num_threads() != want) {
    openblas_set_num_threads(want);
  }
  mine = want;
}

int torch_threads() { return at::get_num_threads(); }

std::string torch_info() {
  std::string s = "\"libtorch\":" + quoted(TORCH_VERSION);
  s += ",\"simd\":" + quoted(config_line("CPU capability usage"));
  s += ",\"blas\":" + quoted(config_line("BLAS_INFO="));
  s += ",\"onednn\":" + quoted(config_line("Intel(R) MKL-DNN"));
  s += std::string(",\"cuda\":") + (at::hasCUDA() ? "true" : "false");
  s += ",\"devices\":[" + cuda_devices() + "]";
  return s;
}

}  // namespace nln

void nln_tensor_free(nln_tensor *t) { delete t; }

nln_status nln_tensor_from_f32(const float *data, int64_t n, const int64_t *shape, int32_t ndim, int32_t dev, nln_tensor **out) {
  return make("from floats", out, [&] {
    check_count(n, product(shape, ndim));
    at::Tensor t = at::empty(sizes(shape, ndim), f32(dev));
    if (n > 0) t.copy_(borrow(data, sizes(shape, ndim)));
    return t;
  });
}

nln_status nln_tensor_full(float value, const int64_t *shape, int32_t ndim, int32_t dev, nln_tensor **out) {
  return make("full", out, [&] {
    product(shape, ndim);
    return at::full(sizes(shape, ndim), value, f32(dev));
  });
}

nln_status nln_tensor_copy_to_f32(nln_tensor *t, float *dst, int64_t n) {
  return run("copy to host", [&] {
    check_count(n, t->t.numel());
    if (n > 0) borrow(dst, t->t.sizes()).copy_(t->t.detach());
  });
}

nln_status nln_tensor_assign_f32(nln_tensor *t, const float *data, int64_t n) {
  return run("assign", [&] {
    check_count(n, t->t.numel());
    // The alias made by detach shares memory and has no gradient to record.
    if (n > 0) t->t.detach().copy_(borrow(data, t->t.sizes()));
  });
}

nln_status nln_tensor_shape(nln_tensor *t, int64_t *dims, int32_t cap, int32_t *ndim) {
  return run("shape", [&] {
    const int64_t d = t->t.dim();
    if (d > cap) invalid("have " + std::to_string(d) + " dimensions, room for " + std::to_string(cap));
    for (int64_t i = 0; i < d; i++) dims[i] = t->t.size(i);
    *ndim = static_cast<int32_t>(d);
  });
}

nln_status nln_tensor_alias(nln_tensor *t, nln_tensor **out) {
  return make("alias", out, [&] { return t->t; });
}

nln_status nln_tensor_detach(nln_tensor *t, nln_tensor **out) {
  return make("detach", out, [&] { return t->t.detach(); });
}

nln_status nln_tensor_set_requires_grad(nln_tensor *t, int32_t requires_grad) {
  return run("requires grad", [&] { t->t.set_requires_grad(requires_grad != 0); });
}

nln_status nln_generator_new(uint64_t seed, int32_t dev, nln_generator **out) {
  return run("generator", [&] {
    at::Device d = device(dev);
    at::Generator g = d.is_cpu() ? at::make_generator<at::CPUGeneratorImpl>(seed)
                                 : at::globalContext().defaultGenerator(d).clone();
    g.set_current_seed(seed);
    *out = new nln_generator(std::move(g));
  });
}

void nln_generator_free(nln_generator *g) { delete g; }

nln_status nln_randn(nln_generator *g, const int64_t *shape, int32_t ndim, int32_t dev, nln_tensor **out) {
  return make("randn", out, [&] {
    product(shape, ndim);
    return at::empty(sizes(shape, ndim), f32(dev)).normal_(0, 1, g->g);
  });
}

nln_status nln_uniform(nln_generator *g, float lo, float hi, const int64_t *shape, int32_t ndim, int32_t dev, nln_tensor **out) {
  return make("uniform", out, [&] {
    product(shape, ndim);
    return at::empty(sizes(shape, ndim), f32(dev)).uniform_(lo, hi, g->g);
  });
}
