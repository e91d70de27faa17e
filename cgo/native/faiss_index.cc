// faiss_index.cc: nearest neighbours with FAISS.
#include <cstdint>  // which FAISS 1.7 expects other headers to bring

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexRefine.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>
#include <faiss/utils/utils.h>
#ifdef NLN_FAISS_GPU
#include <faiss/gpu/GpuCloner.h>
#include <faiss/gpu/StandardGpuResources.h>
#endif
#include <omp.h>

#include <algorithm>
#include <memory>
#include <type_traits>

#include "core.h"

struct nln_index : nln::Counted {
#ifdef NLN_FAISS_GPU
  std::unique_ptr<faiss::gpu::StandardGpuResources> gpu;  // used by index, which goes first
#endif
  std::unique_ptr<faiss::Index> index;
  explicit nln_index(faiss::Index *x) : index(x) {}
};

using namespace nln;

namespace {

// FAISS takes ids as its own integer type, which moved between versions.
using faiss_id = std::remove_pointer_t<decltype(faiss::IndexIDMap().id_map.data())>;
static_assert(sizeof(faiss_id) == sizeof(int64_t), "FAISS ids are not 64 bits wide");

#ifdef NLN_FAISS_GPU
// What a search has for what it makes on its way; FAISS would take 1.5 GB.
constexpr size_t kGpuRoom = size_t{256} << 20;
#endif

// run_faiss is guarded for a body that calls FAISS.
template <class Body>
nln_status run_faiss(const char *op, Body &&body) noexcept {
  return guarded(op, [&] {
    use_threads();
    try {
      body();
    } catch (const faiss::FaissException &e) {
      throw Error(NLN_INVALID, e.what());
    }
  });
}

// Alone has OpenMP take one thread as long as it exists, if it is to. Threads link
// a graph in whatever order they come to it, so that each build would search
// differently.
struct Alone {
  const int before = omp_get_max_threads();
  explicit Alone(bool really) {
    if (really) omp_set_num_threads(1);
  }
  ~Alone() { omp_set_num_threads(before); }
  Alone(const Alone &) = delete;
  Alone &operator=(const Alone &) = delete;
};

// proposer returns the part of x that chooses candidates: x itself, but for an
// index that refines what another one proposes.
faiss::Index *proposer(faiss::Index *x) {
  auto *refined = dynamic_cast<faiss::IndexRefine *>(x);
  return refined ? refined->base_index : x;
}

// store returns the part of x that keeps the vectors as they are, in order of
// id, or NULL.
faiss::IndexFlat *store(faiss::Index *x) {
  if (auto *refined = dynamic_cast<faiss::IndexRefine *>(x)) x = refined->refine_index;
  if (auto *graph = dynamic_cast<faiss::IndexHNSW *>(x)) x = graph->storage;
  return dynamic_cast<faiss::IndexFlat *>(x);
}

}  // namespace

namespace nln {

std::string faiss_info() {
  const std::string version = std::to_string(FAISS_VERSION_MAJOR) + "." + std::to_string(FAISS_VERSION_MINOR) + "." +
                              std::to_string(FAISS_VERSION_PATCH);
  return "\"faiss\":\"" + version + "\",\"faiss_options\":\"" + faiss::get_compile_options() + "\"";
}

}  // namespace nln

nln_status nln_index_new(int64_t dim, const char *factory, nln_index **out) {
  return run_faiss("new index", [&] {
    if (dim < 1 || dim > INT32_MAX) invalid("have dimension " + std::to_string(dim) + ", want at least 1");
    *out = new nln_index(faiss::index_factory(static_cast<int>(dim), factory, faiss::METRIC_L2));
  });
}

void nln_index_free(nln_index *x) { delete x; }

nln_status nln_index_size(nln_index *x, int64_t *dim, int64_t *count) {
  return run_faiss("index size", [&] { *dim = x->index->d, *count = x->index->ntotal; });
}

nln_status nln_index_train(nln_index *x, const float *vectors, int64_t n) {
  return run_faiss("index train", [&] { x->index->train(n, vectors); });
}

nln_status nln_index_kind(nln_index *x, const char **kind, int64_t *effort) {
  return run_faiss("index kind", [&] {
    faiss::Index *p = proposer(x->index.get());
    *kind = "other", *effort = 0;
    if (dynamic_cast<faiss::IndexFlat *>(p)) *kind = "flat";
    if (auto *graph = dynamic_cast<faiss::IndexHNSW *>(p)) *kind = "hnsw", *effort = graph->hnsw.efSearch;
    if (auto *lists = dynamic_cast<faiss::IndexIVF *>(p)) *kind = "ivf", *effort = static_cast<int64_t>(lists->nprobe);
  });
}

nln_status nln_index_set_effort(nln_index *x, int64_t effort) {
  return run_faiss("index effort", [&] {
    faiss::Index *p = proposer(x->index.get());
    if (effort < 1 || effort > INT32_MAX) invalid("have effort " + std::to_string(effort) + ", want at least 1");
    if (auto *graph = dynamic_cast<faiss::IndexHNSW *>(p)) {
      graph->hnsw.efSearch = static_cast<int>(effort);
    } else if (auto *lists = dynamic_cast<faiss::IndexIVF *>(p)) {
      lists->nprobe = std::min(static_cast<size_t>(effort), lists->nlist);
    } else {
      throw Error(NLN_UNSUPPORTED, "this kind of index always makes the same effort");
    }
  });
}

nln_status nln_index_add(nln_index *x, const float *vectors, int64_t n) {
  return run_faiss("index add", [&] {
    if (!x->index->is_trained) invalid("the index must be trained before vectors are added");
    const Alone alone(dynamic_cast<faiss::IndexHNSW *>(proposer(x->index.get())));
    x->index->add(n, vectors);
  });
}

nln_status nln_index_search(nln_index *x, const float *queries, int64_t n, int64_t k, float *dist, int64_t *ids) {
  return run_faiss("index search", [&] {
    if (k < 1) invalid("have k = " + std::to_string(k) + ", want at least 1");
    x->index->search(n, queries, k, dist, reinterpret_cast<faiss_id *>(ids));
  });
}

nln_status nln_index_vectors(nln_index *x, const float **vectors) {
  return run_faiss("index vectors", [&] {
    faiss::IndexFlat *flat = store(x->index.get());
    if (!flat) throw Error(NLN_UNSUPPORTED, "this kind of index does not keep its vectors");
    *vectors = flat->get_xb();
  });
}

nln_status nln_index_on_gpu(nln_index *x, int32_t device, nln_index **out) {
  return run_faiss("index on GPU", [&] {
    if (!dynamic_cast<faiss::IndexFlat *>(x->index.get())) throw Error(NLN_UNSUPPORTED, "only a flat index can be copied to a GPU");
    if (device < 0) invalid("unknown CUDA device " + std::to_string(device));
#ifdef NLN_FAISS_GPU
    auto gpu = std::make_unique<faiss::gpu::StandardGpuResources>();
    gpu->setTempMemory(kGpuRoom);
    auto copy = std::make_unique<nln_index>(faiss::gpu::index_cpu_to_gpu(gpu.get(), device, x->index.get()));
    copy->gpu = std::move(gpu);
    *out = copy.release();
#else
    (void)out;
    throw Error(NLN_UNSUPPORTED, "this core was built without NLN_FAISS_GPU=1");
#endif
  });
}

nln_status nln_index_write(nln_index *x, const char *path) {
  return run_faiss("write index", [&] { faiss::write_index(x->index.get(), path); });
}

nln_status nln_index_read(const char *path, nln_index **out) {
  return run_faiss("read index", [&] { *out = new nln_index(faiss::read_index(path)); });
}
