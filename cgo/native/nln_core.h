/* nln_core.h: the plain C interface of libnlncore.so, the native core of nlnctl.
 *
 * The core wraps libtorch (tensors, autograd, Adam) and FAISS (nearest
 * neighbours). This header needs neither and compiles alone as C or C++.
 *
 * Rules that hold for every function:
 *  - A function that can fail returns an nln_status by value. code 0 is
 *    success; else message says what failed, is owned by the caller and is
 *    freed with nln_message_free. No C++ exception ever crosses the interface.
 *  - Handles (nln_tensor and so on) are opaque. What a function stores in an
 *    out argument belongs to the caller, who frees it with the function that
 *    the type names. Out arguments are untouched on failure.
 *  - Nothing is kept in thread-local state between two calls: no last error, no
 *    gradient mode, no current generator; nln_stream_enter is the one exception.
 *    Any thread may make any call; one handle must not be used by two threads at
 *    the same time.
 *  - A tensor holds float32. The few that hold bytes or ids (int64) say so, and
 *    only the functions that ask for such take them.
 *  - Arrays are row-major; n counts elements, not bytes. Images are N, C, H, W.
 *
 * Every declaration that starts with NLN_API is exported and gets a stub in the
 * Go package cgo/internal/core (go generate); keep to one function each.
 */
#ifndef NLN_CORE_H
#define NLN_CORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef NLN_API
#define NLN_API
#endif

/* Changes with every change of a signature or a meaning below. */
#define NLN_ABI_VERSION 7

enum {
  NLN_OK = 0,
  NLN_INVALID = 1,     /* arguments that cannot work, such as shapes that do not fit */
  NLN_NO_MEMORY = 2,   /* on the host or on the device */
  NLN_UNSUPPORTED = 3, /* this core was built without it */
  NLN_IO = 4,          /* a file could not be read or written */
  NLN_FAILED = 5,      /* anything else */
  NLN_NOT_LOADED = 6   /* set by the Go stubs alone: no core is loaded */
};

typedef struct nln_status {
  int32_t code;
  char *message; /* NULL when code is NLN_OK */
} nln_status;

/* The device of a tensor: NLN_CPU, or the number of a CUDA device. */
enum { NLN_CPU = -1 };

typedef struct nln_tensor nln_tensor;       /* nln_tensor_free */
typedef struct nln_generator nln_generator; /* nln_generator_free */
typedef struct nln_adam nln_adam;           /* nln_adam_free */
typedef struct nln_script nln_script;       /* nln_script_free */
typedef struct nln_near nln_near;           /* nln_near_free */
typedef struct nln_stream nln_stream;       /* nln_stream_free */
typedef struct nln_graph nln_graph;         /* nln_graph_free */
typedef struct nln_index nln_index;         /* nln_index_free */
typedef struct nln_search nln_search;       /* nln_search_free */

/* ---- the core itself ---- */

/* NLN_ABI_VERSION of the header that the core was built with. */
NLN_API uint32_t nln_abi_version(void);

/* Sets the allocator up for large tensors and the number of threads (0: as many
 * as there are processors). To be called before any other function but
 * nln_abi_version; later calls change the number of threads. */
NLN_API nln_status nln_init(int32_t threads);

/* A JSON object that says what the core is made of: versions, BLAS, SIMD level,
 * devices; and the threads of nln_init ("threads") beside what OpenMP, libtorch
 * and OpenBLAS would take on the calling thread, which should be the same. Freed with nln_message_free. */
NLN_API nln_status nln_info(char **json);

/* How many handles of all kinds exist. Tests end at the number they began with. */
NLN_API int64_t nln_live_handles(void);

NLN_API void nln_message_free(char *message);

/* ---- devices ---- */

/* How many CUDA devices there are, 0 for a core or a machine without CUDA. */
NLN_API nln_status nln_device_count(int32_t *count);

/* The precision in which matrices are multiplied and convolved, on all devices
 * from now on: float32, the start; float32 with 10 bits of mantissa in the
 * factors, on CUDA devices that have it; or bfloat16 factors. Sums are float32. */
enum { NLN_FLOAT32 = 0, NLN_TF32 = 1, NLN_BFLOAT16 = 2 };
NLN_API nln_status nln_set_precision(int32_t precision);

/* A queue of work of a device, beside its others. From enter to leave the calling
 * thread's work for the device goes there; leave goes back to what was before. On
 * the CPU both do nothing. wait returns when the queue is done. */
NLN_API nln_status nln_stream_new(int32_t device, nln_stream **out);
NLN_API void nln_stream_free(nln_stream *s);
NLN_API nln_status nln_stream_enter(nln_stream *s);
NLN_API nln_status nln_stream_leave(nln_stream *s);
NLN_API nln_status nln_stream_wait(nln_stream *s);

/* Work that is recorded once and done again with one call: between begin and end,
 * in a stream that the thread has entered, nothing is computed. Tensors made
 * meanwhile are the graph's memory: replay fills them anew, out of what the tensors
 * from before then hold, and reads no argument from the host. Nothing there may
 * wait for the device or copy to or from the host, and the same work must have been
 * done in the stream before. NLN_UNSUPPORTED on the CPU. After an error between
 * begin and end, nln_graph_free ends the recording. */
NLN_API nln_status nln_graph_begin(nln_stream *s, nln_graph **out);
NLN_API nln_status nln_graph_end(nln_graph *g);
NLN_API nln_status nln_graph_replay(nln_graph *g);
NLN_API void nln_graph_free(nln_graph *g);

/* ---- tensors ---- */

NLN_API void nln_tensor_free(nln_tensor *t);

/* A float32 tensor with a copy of data; n must be the product of shape. */
NLN_API nln_status nln_tensor_from_f32(const float *data, int64_t n, const int64_t *shape, int32_t ndim, int32_t device, nln_tensor **out);

/* A float32 tensor filled with value. */
NLN_API nln_status nln_tensor_full(float value, const int64_t *shape, int32_t ndim, int32_t device, nln_tensor **out);

/* Stores t's values as float32 in dst, row-major; waits for the device. n must
 * be the number of t's elements. */
NLN_API nln_status nln_tensor_copy_to_f32(nln_tensor *t, float *dst, int64_t n);

/* Overwrites t's values with data, row-major, in place. Meant for leaves. */
NLN_API nln_status nln_tensor_assign_f32(nln_tensor *t, const float *data, int64_t n);

/* Stores the sizes of t's dimensions in dims (room for cap) and their number. */
NLN_API nln_status nln_tensor_shape(nln_tensor *t, int64_t *dims, int32_t cap, int32_t *ndim);

/* A second handle on the same tensor. */
NLN_API nln_status nln_tensor_alias(nln_tensor *t, nln_tensor **out);

/* A handle on the same values, cut off from the gradient graph. */
NLN_API nln_status nln_tensor_detach(nln_tensor *t, nln_tensor **out);

/* Says whether nln_grad may ask for the gradient of the leaf t. */
NLN_API nln_status nln_tensor_set_requires_grad(nln_tensor *t, int32_t requires_grad);

/* Overwrites t's values with x's, of the same shape and type, also between
 * devices; from and to page-locked memory it does not wait. */
NLN_API nln_status nln_tensor_assign(nln_tensor *t, nln_tensor *x);

/* A tensor of bytes or of ids on the device, with a copy of data. */
NLN_API nln_status nln_tensor_from_u8(const uint8_t *data, int64_t n, const int64_t *shape, int32_t ndim, int32_t device, nln_tensor **out);
NLN_API nln_status nln_tensor_from_i64(const int64_t *data, int64_t n, const int64_t *shape, int32_t ndim, int32_t device, nln_tensor **out);
NLN_API nln_status nln_tensor_copy_to_i64(nln_tensor *t, int64_t *dst, int64_t n);

/* A tensor in page-locked memory of the host, from which a CUDA device copies
 * while it computes: float32, bytes or ids for NLN_DTYPE_*; data gets its address,
 * valid until the last handle on it is freed. Plain memory where there is no CUDA. */
enum { NLN_DTYPE_F32 = 0, NLN_DTYPE_U8 = 1, NLN_DTYPE_I64 = 2 };
NLN_API nln_status nln_tensor_staging(int32_t dtype, const int64_t *shape, int32_t ndim, void **data, nln_tensor **out);

/* ---- random numbers ---- */

/* The same seed on the same device gives the same numbers. */
NLN_API nln_status nln_generator_new(uint64_t seed, int32_t device, nln_generator **out);
NLN_API void nln_generator_free(nln_generator *g);
NLN_API nln_status nln_randn(nln_generator *g, const int64_t *shape, int32_t ndim, int32_t device, nln_tensor **out);
/* Uniform in [lo, hi). */
NLN_API nln_status nln_uniform(nln_generator *g, float lo, float hi, const int64_t *shape, int32_t ndim, int32_t device, nln_tensor **out);

/* ---- element by element; binary operations broadcast ---- */

NLN_API nln_status nln_add(nln_tensor *a, nln_tensor *b, nln_tensor **out);
NLN_API nln_status nln_sub(nln_tensor *a, nln_tensor *b, nln_tensor **out);
NLN_API nln_status nln_mul(nln_tensor *a, nln_tensor *b, nln_tensor **out);
NLN_API nln_status nln_div(nln_tensor *a, nln_tensor *b, nln_tensor **out);
/* scale * x + shift */
NLN_API nln_status nln_affine(nln_tensor *x, double scale, double shift, nln_tensor **out);
NLN_API nln_status nln_abs(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_exp(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_log(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_sqrt(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_square(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_clamp(nln_tensor *x, double lo, double hi, nln_tensor **out);
NLN_API nln_status nln_sigmoid(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_tanh(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_relu(nln_tensor *x, nln_tensor **out);
/* x where positive, else slope * x. */
NLN_API nln_status nln_leaky_relu(nln_tensor *x, double slope, nln_tensor **out);
/* ReLU that overwrites x; out is a second handle on it. x must not be a leaf. */
NLN_API nln_status nln_relu_in_place(nln_tensor *x, nln_tensor **out);

/* ---- shape ---- */

/* One size may be -1: it is what remains. */
NLN_API nln_status nln_reshape(nln_tensor *x, const int64_t *shape, int32_t ndim, nln_tensor **out);
NLN_API nln_status nln_permute(nln_tensor *x, const int64_t *dims, int32_t ndim, nln_tensor **out);
NLN_API nln_status nln_flip(nln_tensor *x, const int64_t *dims, int32_t ndim, nln_tensor **out);
/* Elements start .. start+length-1 of dimension dim. */
NLN_API nln_status nln_narrow(nln_tensor *x, int64_t dim, int64_t start, int64_t length, nln_tensor **out);
NLN_API nln_status nln_cat(nln_tensor *const *xs, int32_t n, int64_t dim, nln_tensor **out);
/* Zeros around the last two dimensions. */
NLN_API nln_status nln_pad2d(nln_tensor *x, int64_t left, int64_t right, int64_t top, int64_t bottom, nln_tensor **out);

/* ---- reductions to a scalar, or along one dimension ---- */

NLN_API nln_status nln_sum(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_mean(nln_tensor *x, nln_tensor **out);
NLN_API nln_status nln_sum_dim(nln_tensor *x, int64_t dim, nln_tensor **out);
NLN_API nln_status nln_mean_dim(nln_tensor *x, int64_t dim, nln_tensor **out);

/* ---- layers ---- */

NLN_API nln_status nln_matmul(nln_tensor *a, nln_tensor *b, nln_tensor **out);
/* x (N, in) times w (out, in) transposed, plus b (out) or NULL. */
NLN_API nln_status nln_linear(nln_tensor *x, nln_tensor *w, nln_tensor *b, nln_tensor **out);
/* Cross-correlation of x (N, C, H, W) with w (O, C, KH, KW), plus b (O) or NULL;
 * padding is added on all four sides. */
NLN_API nln_status nln_conv2d(nln_tensor *x, nln_tensor *w, nln_tensor *b, int64_t stride, int64_t padding, nln_tensor **out);
/* The transpose of nln_conv2d: x (N, C, H, W), w (C, O, KH, KW). */
NLN_API nln_status nln_conv_transpose2d(nln_tensor *x, nln_tensor *w, nln_tensor *b, int64_t stride, int64_t padding, nln_tensor **out);
NLN_API nln_status nln_max_pool2d(nln_tensor *x, int64_t size, int64_t stride, nln_tensor **out);
/* Nearest neighbour, by a whole factor. */
NLN_API nln_status nln_upsample2d(nln_tensor *x, int64_t factor, nln_tensor **out);
/* ReLU of the maxima of 2x2 windows. */
NLN_API nln_status nln_relu_pool(nln_tensor *x, nln_tensor **out);
/* The same of a convolution of x (N, C, H, W) with w (O, C, 2, 2), plus b (O),
 * that keeps H and W: with a row and a column of zeros after the last. */
NLN_API nln_status nln_conv_pool(nln_tensor *x, nln_tensor *w, nln_tensor *b, nln_tensor **out);
/* The same without pooling and, if relu == 0, without ReLU; the zeros are before the
 * first row and column if before != 0. */
NLN_API nln_status nln_conv2x2(nln_tensor *x, nln_tensor *w, nln_tensor *b, int32_t before, int32_t relu, nln_tensor **out);
/* nln_conv2x2 with zeros after and with ReLU, flattened to (N, O*H*W). */
NLN_API nln_status nln_conv2x2_rows(nln_tensor *x, nln_tensor *w, nln_tensor *b, nln_tensor **out);
/* nln_upsample2d by 2, then a convolution with w (O, C, 2, 2), plus b (O), that
 * keeps H and W: with a row and a column of zeros before the first; then ReLU if
 * relu != 0. */
NLN_API nln_status nln_up_conv(nln_tensor *x, nln_tensor *w, nln_tensor *b, int32_t relu, nln_tensor **out);
/* Over channels of x (N, C, H, W). With training != 0 it uses the batch's mean
 * and variance and moves the running ones: new = (1-momentum) old + momentum batch
 * (unbiased variance); else it uses the running ones. */
NLN_API nln_status nln_batch_norm(nln_tensor *x, nln_tensor *weight, nln_tensor *bias, nln_tensor *running_mean, nln_tensor *running_var, int32_t training, double momentum, double eps, nln_tensor **out);
/* Zeroes each element with probability p and scales the rest by 1/(1-p). */
NLN_API nln_status nln_dropout(nln_tensor *x, double p, nln_generator *g, nln_tensor **out);

/* ---- losses, each the mean over all elements ---- */

NLN_API nln_status nln_mse_loss(nln_tensor *x, nln_tensor *target, nln_tensor **out);
NLN_API nln_status nln_l1_loss(nln_tensor *x, nln_tensor *target, nln_tensor **out);
/* Of sigmoid(x) against target in [0, 1], computed stably from x. */
NLN_API nln_status nln_bce_with_logits_loss(nln_tensor *x, nln_tensor *target, nln_tensor **out);

/* ---- training ---- */

/* The gradients of the scalar loss with respect to params, stored in grads (room
 * for n). A parameter that loss does not depend on gets NULL. The graph is freed
 * unless keep_graph != 0, which another nln_grad through the same graph needs. */
NLN_API nln_status nln_grad(nln_tensor *loss, nln_tensor *const *params, int32_t n, int32_t keep_graph, nln_tensor **grads);

/* Adam over params, which it shares with the caller; moments start at zero. */
NLN_API nln_status nln_adam_new(nln_tensor *const *params, int32_t n, double lr, double beta1, double beta2, double eps, nln_adam **out);
NLN_API void nln_adam_free(nln_adam *a);
/* One update; a NULL gradient leaves its parameter and moments as they are. */
NLN_API nln_status nln_adam_step(nln_adam *a, nln_tensor *const *grads, int32_t n);
/* Handles on the first and second moments of parameter i, and its updates so far. */
NLN_API nln_status nln_adam_state(nln_adam *a, int32_t i, nln_tensor **m, nln_tensor **v, int64_t *steps);
NLN_API nln_status nln_adam_set_steps(nln_adam *a, int32_t i, int64_t steps);

/* ---- networks from elsewhere ---- */

/* Reads a TorchScript file onto the device, for evaluation. NLN_IO for a file that
 * cannot be read, NLN_INVALID for one that is no TorchScript. A script is a program:
 * the caller trusts where it came from. Errors of these functions name the file. */
NLN_API nln_status nln_script_load(const char *path, int32_t device, nln_script **out);
NLN_API void nln_script_free(nln_script *s);
/* What the script makes of x, whose first dimension is N, at least 1: a tensor of N
 * rows, stored as a copy of shape (N, F), float32, without gradient. NLN_INVALID
 * for a script that fails, one that gives anything else, and values that are not
 * finite. It runs as written: the optimizer that watches the first calls may round
 * later ones otherwise. */
NLN_API nln_status nln_script_forward(nln_script *s, nln_tensor *x, nln_tensor **out);

/* ---- rows and neighbours on a device ---- */

/* Rows ids (N) of x, whose type the result has: (N, ...). */
NLN_API nln_status nln_take_rows(nln_tensor *x, nln_tensor *ids, nln_tensor **out);
/* Bytes (N, C, H, W) as values in [0, 1]: divided by 255 or, with minmax != 0, each
 * channel of each image stretched over its own range, a constant one to 0. */
NLN_API nln_status nln_scale_images(nln_tensor *bytes, int32_t minmax, nln_tensor **out);
/* Mean |x - row| of each row of x (N, F) and K rows of table (M, F), whose numbers
 * are ids (N, K): (N, K). The table has float32, or bytes that stand for 255 times
 * the value. */
NLN_API nln_status nln_mean_abs_rows(nln_tensor *x, nln_tensor *table, nln_tensor *ids, nln_tensor **out);
/* Means of the first 1, 2, ... K values of each row of x (N, K). */
NLN_API nln_status nln_prefix_means(nln_tensor *x, nln_tensor **out);

/* Exact search among vectors (M, L), M at least 1, on their device, which it shares
 * with the caller: they must not change. */
NLN_API nln_status nln_near_new(nln_tensor *vectors, nln_near **out);
NLN_API void nln_near_free(nln_near *x);
/* The k nearest of each of queries (N, L), at most M: distances (N, k), rounded to
 * float32 from float64 sums, nearest first, and ids (N, k), equal distances by id.
 * unsure (N) is not 0 where the search, which looks at float32 products first,
 * cannot show that it missed none: nln_near_all can. */
NLN_API nln_status nln_near_search(nln_near *x, nln_tensor *queries, int64_t k, nln_tensor **dist, nln_tensor **ids, nln_tensor **unsure);
/* The same by float64 differences with all vectors, many times slower. */
NLN_API nln_status nln_near_all(nln_near *x, nln_tensor *queries, int64_t k, nln_tensor **dist, nln_tensor **ids);

/* ---- nearest neighbours ---- */

/* An empty FAISS index over vectors of dim floats under the squared Euclidean
 * distance; factory is a FAISS factory string such as "Flat". */
NLN_API nln_status nln_index_new(int64_t dim, const char *factory, nln_index **out);
NLN_API void nln_index_free(nln_index *x);
NLN_API nln_status nln_index_size(nln_index *x, int64_t *dim, int64_t *count);
/* Prepares an index whose kind needs it, such as one with lists, by n vectors
 * like those that will be added; for others it does nothing. */
NLN_API nln_status nln_index_train(nln_index *x, const float *vectors, int64_t n);
/* "flat", "hnsw", "ivf" or "other", a constant that is not freed, and how much a
 * search looks at: efSearch of HNSW, nprobe of IVF, else 0. */
NLN_API nln_status nln_index_kind(nln_index *x, const char **kind, int64_t *effort);
/* Sets efSearch of HNSW or nprobe of IVF, of which there are at most as many as
 * lists; NLN_UNSUPPORTED for other kinds. */
NLN_API nln_status nln_index_set_effort(nln_index *x, int64_t effort);
/* Appends n vectors, n*dim floats; ids go on from the number held. */
NLN_API nln_status nln_index_add(nln_index *x, const float *vectors, int64_t n);
/* The k nearest of each of n queries, nearest first. dist (n*k) gets SQUARED
 * Euclidean distances as FAISS computes them: rounding can make them slightly
 * negative, and equal distances come in any order. ids (n*k) is -1 where fewer
 * than k were found. */
NLN_API nln_status nln_index_search(nln_index *x, const float *queries, int64_t n, int64_t k, float *dist, int64_t *ids);
/* The vectors in order of id, count*dim floats, valid until the next add or free:
 * of a flat index, an HNSW graph over one, or one that refines by one.
 * NLN_UNSUPPORTED for an index that does not keep them so. */
NLN_API nln_status nln_index_vectors(nln_index *x, const float **vectors);
/* A copy of a flat index on a CUDA device, which is searched there and cannot be
 * written. NLN_UNSUPPORTED for other kinds, and for a core built without
 * NLN_FAISS_GPU=1. */
NLN_API nln_status nln_index_on_gpu(nln_index *x, int32_t device, nln_index **out);
NLN_API nln_status nln_index_write(nln_index *x, const char *path);
NLN_API nln_status nln_index_read(const char *path, nln_index **out);

/* ---- exact search ---- */

/* The names of the instruction sets that nln_search_new takes on this processor,
 * the fastest first, with commas between. Freed with nln_message_free. */
NLN_API nln_status nln_search_levels(char **names);
/* What is kept to search n vectors of dim finite floats: a byte a value, besides
 * the vectors themselves, which the caller keeps. level is one of
 * nln_search_levels, or "" for the fastest. */
NLN_API nln_status nln_search_new(const float *vectors, int64_t n, int64_t dim, const char *level, nln_search **out);
NLN_API void nln_search_free(nln_search *s);
/* The k nearest of each of n queries among count vectors: those of
 * nln_search_new, unchanged, and any that follow, which cost more. dist (n*k)
 * gets the root of the sum, in float64 and in order of dimension, of the squared
 * differences, rounded to float32; nearest first, equal distances by id. k is at
 * most count, and all queries are finite. Any number of threads may search with
 * one handle at the same time; they share the threads of nln_init. */
NLN_API nln_status nln_search_run(nln_search *s, const float *vectors, int64_t count, const float *queries, int64_t n, int64_t k, float *dist, int64_t *ids);

/* ---- pictures ---- */

/* The version of libvips, which the first of these functions loads;
 * NLN_UNSUPPORTED where it is not there. Freed with nln_message_free. */
NLN_API nln_status nln_picture_version(char **version);
/* What the header of an image file says, turned as its EXIF orientation wants:
 * channels is 1 for grey, with or without alpha, else 3. NLN_IO for what libvips
 * cannot read. */
NLN_API nln_status nln_picture_size(const void *data, int64_t bytes, int32_t *channels, int64_t *rows, int64_t *columns);
/* Decodes an image file, turned as its EXIF orientation wants, and resizes it to
 * rows and columns, whatever its aspect: 8-bit sRGB or grey, alpha over black, in
 * pixels as planes, channels*rows*columns. A colour file asked for with one
 * channel must have R = G = B everywhere, else NLN_INVALID. The caller has made
 * sure by nln_picture_size that the file is not too large. */
NLN_API nln_status nln_picture_decode(const void *data, int64_t bytes, int32_t channels, int64_t rows, int64_t columns, uint8_t *pixels);

#ifdef __cplusplus
}
#endif

#endif
