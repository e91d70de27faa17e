// core.cc: the core itself: start, facts, counters.
#include "core.h"

#include <malloc.h>
#include <omp.h>

#include <climits>
#include <thread>

namespace nln {
std::atomic<int64_t> live{0};
std::atomic<int> threads{1};
}  // namespace nln

using namespace nln;

namespace {

// glibc gives large blocks back to the system as soon as they are freed, and
// the next training step maps them again, page by page: a third of the time of
// a step. Kept blocks make training about twice as fast; the price is that the
// process stays as large as it once was.
void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
  mallopt(M_ARENA_MAX, 1);
}

// OpenBLAS says what it is. Another BLAS may stand in its place.
extern "C" {
__attribute__((weak)) char *openblas_get_corename(void);
__attribute__((weak)) char *openblas_get_config(void);
__attribute__((weak)) int openblas_get_num_threads(void);
}

// Members of the JSON object: what was asked for, and what each library has.
std::string threads_info() {
  std::string s = "\"threads\":" + std::to_string(threads.load());
  s += ",\"openmp_threads\":" + std::to_string(omp_get_max_threads());
  s += ",\"torch_threads\":" + std::to_string(torch_threads());
  if (!openblas_get_corename || !openblas_get_config || !openblas_get_num_threads) return s;
  s += ",\"openblas_threads\":" + std::to_string(openblas_get_num_threads());
  s += std::string(",\"openblas_kernels\":\"") + openblas_get_corename() + "\"";
  return s + ",\"openblas_config\":\"" + openblas_get_config() + "\"";
}

}  // namespace

uint32_t nln_abi_version(void) { return NLN_ABI_VERSION; }

nln_status nln_init(int32_t n) {
  return guarded("init", [&] {
    static const bool once = (keep_freed_memory(), true);
    (void)once;
    if (n < 0) invalid("have " + std::to_string(n) + " threads, want 0 or more");
    if (n == 0) n = omp_get_num_procs();
    threads = n;
    use_threads();
  });
}

nln_status nln_info(char **json) {
  return guarded("info", [&] {
    use_threads();
    *json = owned("{" + torch_info() + "," + faiss_info() + "," + threads_info() + "}");
  });
}

int64_t nln_live_handles(void) { return live.load(); }

void nln_message_free(char *message) { std::free(message); }
