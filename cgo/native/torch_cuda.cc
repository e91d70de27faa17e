// torch_cuda.cc: queues and recorded work of CUDA devices. Built with CUDA=1 it is
// the one file that needs CUDA's headers; without, devices have no queues.
#include "torch.h"

#ifdef NLN_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <memory>
#include <optional>
#endif

using namespace nln;

#ifdef NLN_CUDA

struct nln_stream : nln::Counted {
  at::Device device;
  std::optional<c10::cuda::CUDAStream> mine;  // none on the CPU
  std::vector<c10::cuda::CUDAStream> before;  // that the thread left for it
  explicit nln_stream(at::Device d) : device(d) {
    if (!d.is_cpu()) mine = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, d.index());
  }
};

struct nln_graph : nln::Counted {
  std::unique_ptr<at::cuda::CUDAGraph> graph = std::make_unique<at::cuda::CUDAGraph>();
  c10::cuda::CUDAStream stream;
  bool recording = true, sound = false;
  explicit nln_graph(c10::cuda::CUDAStream s) : stream(s) {
#if TORCH_VERSION_MAJOR > 1
    // What other threads do meanwhile is none of the recording's business.
    graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
#else
    graph->capture_begin();
#endif
  }
  ~nln_graph() {
    // libtorch goes on asking a recording that failed which memory is its own.
    if (!sound) (void)graph.release();
  }
};

std::string nln::cuda_devices() {
  std::string all;
  for (int i = 0; i < static_cast<int>(torch::cuda::device_count()); i++) {
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) throw Error(NLN_FAILED, "device " + std::to_string(i) + " does not say what it is");
    all += std::string(i ? "," : "") + "{\"name\":\"" + p.name + "\",\"bytes\":" + std::to_string(p.totalGlobalMem) +
           ",\"capability\":\"" + std::to_string(p.major) + "." + std::to_string(p.minor) + "\"}";
  }
  return all;
}

nln_status nln_stream_new(int32_t dev, nln_stream **out) {
  return run("stream", [&] { *out = new nln_stream(device(dev)); });
}

nln_status nln_stream_enter(nln_stream *s) {
  return run("enter stream", [&] {
    if (!s->mine) return;
    s->before.push_back(c10::cuda::getCurrentCUDAStream(s->device.index()));
    c10::cuda::setCurrentCUDAStream(*s->mine);
  });
}

nln_status nln_stream_leave(nln_stream *s) {
  return run("leave stream", [&] {
    if (!s->mine) return;
    if (s->before.empty()) invalid("the stream was not entered");
    c10::cuda::setCurrentCUDAStream(s->before.back());
    s->before.pop_back();
  });
}

nln_status nln_stream_wait(nln_stream *s) {
  return run("wait for stream", [&] {
    if (s->mine) s->mine->synchronize();
  });
}

nln_status nln_graph_begin(nln_stream *s, nln_graph **out) {
  return run("record", [&] {
    if (!s->mine) throw Error(NLN_UNSUPPORTED, "the CPU records no work");
    // Whatever is under way must not end up in the recording.
    s->mine->synchronize();
    // A recording has memory of its own and may not ask for what is kept for later.
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard guard(*s->mine); // and its device, which is what is recorded
    *out = new nln_graph(*s->mine);
  });
}

nln_status nln_graph_end(nln_graph *g) {
  return run("end of recording", [&] {
    g->recording = false;
    const c10::cuda::CUDAStreamGuard guard(g->stream);
    g->graph->capture_end();
    g->sound = true;
  });
}

nln_status nln_graph_replay(nln_graph *g) {
  return run("replay", [&] {
    if (!g->sound) invalid("the recording has not ended well");
    const c10::cuda::CUDAStreamGuard guard(g->stream);
    g->graph->replay();
  });
}

void nln_graph_free(nln_graph *g) {
  // A recording that failed cannot be ended well, only left.
  if (g && g->recording) nln_message_free(nln_graph_end(g).message);
  delete g;
}

#else

struct nln_stream : nln::Counted {};
struct nln_graph : nln::Counted {};

std::string nln::cuda_devices() { return ""; }

nln_status nln_stream_new(int32_t dev, nln_stream **out) {
  return run("stream", [&] {
    if (!device(dev).is_cpu()) throw Error(NLN_UNSUPPORTED, "this core was built without CUDA=1");
    *out = new nln_stream();
  });
}

nln_status nln_stream_enter(nln_stream *) { return ok(); }
nln_status nln_stream_leave(nln_stream *) { return ok(); }
nln_status nln_stream_wait(nln_stream *) { return ok(); }

nln_status nln_graph_begin(nln_stream *, nln_graph **) {
  return run("record", [] { throw Error(NLN_UNSUPPORTED, "the CPU records no work"); });
}
nln_status nln_graph_end(nln_graph *) { return ok(); }
nln_status nln_graph_replay(nln_graph *) { return ok(); }
void nln_graph_free(nln_graph *g) { delete g; }

#endif

void nln_stream_free(nln_stream *s) { delete s; }
