# core.mk builds the native core, $(OUT)/lib/libnlncore.so, out of cgo/native.
# The Makefile runs it in a make of its own, so that only here files are built
# in parallel. It needs a C++ compiler and the libraries, and no Go.
#
#   LIBTORCH=DIR   a libtorch of your own (DIR/include, DIR/lib); empty: the distribution's
#   FAISS=DIR      a FAISS of your own; empty: the distribution's
#   CUDA=1         with what CUDA devices need beyond libtorch; CUDA_HOME=DIR is where CUDA's
#                  headers are, if not in /usr, /usr/local/cuda or beside a pip libtorch
#   SANITIZE=LIST  such as address, for gcc's -fsanitize
#   WERROR=-Werror makes warnings fail the build
#   CXX, CXXFLAGS, LDFLAGS  as usual; CXXFLAGS replaces -O2. The kernels are written in
#                  GCC's vectors, so that CXX has to be g++, 12 or later
#
# libtorch and FAISS must meet in one BLAS and one OpenMP runtime: two thread
# pools in one process crash or crawl. Debian chooses a BLAS for the whole system
# (update-alternatives), which may be the slow reference one or the one with
# threads of its own. The core therefore names the OpenMP build of OpenBLAS
# itself, by its three library names and a search path: the dynamic linker loads
# these first, and libtorch's own request for libblas.so.3 finds them there.

OUT      ?= build
CXXFLAGS ?= -O2 -g1

SRCS := $(sort $(wildcard cgo/native/*.cc))
OBJ  := $(OUT)/obj
OBJS := $(SRCS:cgo/native/%.cc=$(OBJ)/%.o)
CORE := $(OUT)/lib/libnlncore.so

MULTIARCH := $(shell $(CXX) -print-multiarch)
BLAS      ?= /usr/lib/$(MULTIARCH)/openblas-openmp

CUDA_ON   := $(filter 1,$(CUDA))
CUDA_LIBS := -Wl,--no-as-needed -ltorch_cuda -lc10_cuda -Wl,--as-needed

ifeq ($(LIBTORCH),)
TORCH_INCLUDE := /usr/include/torch/csrc/api/include
TORCH_LIBS    := -ltorch_cpu -lc10 $(if $(CUDA_ON),$(CUDA_LIBS))
OPENMP        ?= -lgomp
else
ifneq ($(shell grep -s 'GLIBCXX_USE_CXX11_ABI=0' $(LIBTORCH)/share/cmake/Torch/TorchConfig.cmake),)
$(error LIBTORCH=$(LIBTORCH) is built for the old C++ ABI, which FAISS is not: take the cxx11-abi build, or 2.7 or later)
endif
TORCH_INCLUDE := $(LIBTORCH)/include $(LIBTORCH)/include/torch/csrc/api/include
TORCH_DIRS    := $(LIBTORCH)/lib
TORCH_LIBS    := -ltorch_cpu -lc10
# libtorch finds its CUDA side only if the core loads it, though nothing there
# is named in the core.
ifneq ($(wildcard $(LIBTORCH)/lib/libtorch_cuda.so),)
TORCH_LIBS    += $(CUDA_LIBS)
endif
# Such a libtorch brings its own copy of the OpenMP runtime, at times renamed.
OWN_GOMP      := $(notdir $(firstword $(wildcard $(LIBTORCH)/lib/libgomp*.so*)))
OPENMP        ?= $(if $(OWN_GOMP),-l:$(OWN_GOMP),-lgomp)
endif

# pip spreads CUDA's headers and libraries over packages beside torch.
CUDA_PIP     := $(if $(CUDA_ON),$(wildcard $(LIBTORCH:%=%/../nvidia/*)))
CUDA_INCLUDE := $(if $(CUDA_ON),$(wildcard $(CUDA_HOME:%=%/include) /usr/local/cuda/include $(CUDA_PIP:%=%/include) $(CUDA_PIP:%=%/include/cccl)))
CUDA_DIRS    := $(wildcard $(CUDA_PIP:%=%/lib))
CUDART       := $(or $(firstword $(wildcard $(CUDA_DIRS:%=%/libcudart.so*))),-lcudart)

FAISS_INCLUDE := $(if $(FAISS),$(FAISS)/include)
FAISS_DIRS    := $(if $(FAISS),$(FAISS)/lib)

COMMA    := ,
LIB_DIRS := $(TORCH_DIRS) $(FAISS_DIRS) $(BLAS) $(CUDA_DIRS)

CORE_CXXFLAGS := -std=c++17 $(CXXFLAGS) -fPIC -fvisibility=hidden -fopenmp -ffile-prefix-map=$(CURDIR)=. \
	-Wall -Wextra $(WERROR) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer) \
	$(if $(CUDA_ON),-DNLN_CUDA=1) $(if $(filter 1,$(NLN_FAISS_GPU)),-DNLN_FAISS_GPU=1) \
	$(addprefix -isystem ,$(TORCH_INCLUDE) $(FAISS_INCLUDE) $(CUDA_INCLUDE))

# A distance must be the same to the bit everywhere, so that nothing is fused;
# -O3 unrolls the inner loops of the search into registers.
SEARCH_CXXFLAGS := -O3 -ffp-contract=off
# The kernels of the networks' blocks are vectors and loops for the compiler to turn
# into such.
BLOCKS_CXXFLAGS := -O3

CORE_LDFLAGS := -shared -Wl,-soname,libnlncore.so -Wl,--no-undefined -Wl,-z,relro,-z,now \
	-Wl,--version-script=$(OBJ)/exports.map $(if $(SANITIZE),-fsanitize=$(SANITIZE)) \
	$(addprefix -L,$(LIB_DIRS)) $(addprefix -Wl$(COMMA)-rpath$(COMMA),$(LIB_DIRS)) $(LDFLAGS)

CORE_LIBS := -Wl,--as-needed $(if $(wildcard $(FAISS_DIRS:%=%/libfaiss.so)),-lfaiss,-l:libfaiss.a) $(TORCH_LIBS) $(if $(CUDA_ON),$(CUDART)) \
	-Wl,--no-as-needed -l:libblas.so.3 -l:liblapack.so.3 -l:libopenblas.so.0 -Wl,--as-needed $(OPENMP)

.PHONY: core
core: $(CORE)

# Written only when the commands change; then everything is built again.
COMMANDS := $(CXX) | $(CORE_CXXFLAGS) | $(SEARCH_CXXFLAGS) | $(BLOCKS_CXXFLAGS) | $(CORE_LDFLAGS) | $(CORE_LIBS) | $(SRCS)
$(OBJ)/commands: FORCE
	@mkdir -p $(OBJ) $(OUT)/lib
	@echo '$(COMMANDS)' | cmp -s - $@ || echo '$(COMMANDS)' > $@

.PHONY: FORCE
FORCE:

$(OBJ)/exports.map: $(OBJ)/commands
	@echo '{ global: nln_*; local: *; };' > $@

$(OBJ)/%.o: cgo/native/%.cc $(OBJ)/commands
	@echo "  c++  $<"
	@$(CXX) $(CORE_CXXFLAGS) $(if $(filter search%,$*),$(SEARCH_CXXFLAGS)) $(if $(filter blocks%,$*),$(BLOCKS_CXXFLAGS)) -MMD -MP -c -o $@ $<

# Linked beside and renamed, so that a running program keeps the core it loaded.
$(CORE): $(OBJS) $(OBJ)/exports.map
	@echo "  link $@"
	@$(CXX) $(CORE_LDFLAGS) -o $@.new $(OBJS) $(CORE_LIBS)
	@mv $@.new $@

-include $(OBJS:.o=.d)
