// blocks_kernel.cc: the kernels of blocks.h, compiled once for each level of
// instructions out of the same C++: plain loops over kLanes or over channels,
// which the compiler turns into vectors, and the products of
// blocks_products.inc, which name the vectors themselves.
#include "blocks.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

namespace nln::blocks {

namespace {

#define NLN_INLINE inline __attribute__((always_inline))

// One pass over memory, which is what an update is bound by.
NLN_INLINE void adam(const Adam &a, int64_t n, const float *__restrict g, float *__restrict p, float *__restrict m, float *__restrict v) {
  const float rest1 = 1 - a.beta1, rest2 = 1 - a.beta2;
  for (int64_t i = 0; i < n; i++) {
    const float m1 = a.beta1 * m[i] + rest1 * g[i], v1 = a.beta2 * v[i] + rest2 * (g[i] * g[i]);
    m[i] = m1, v[i] = v1;
    p[i] -= a.rate * (m1 / (std::sqrt(v1) * a.root + a.eps));
  }
}

// The 3x3 values under a window and its convolution, plane by plane.
struct Patch {
  float v[kMaxChannels][9];
};

NLN_INLINE void take(const float *x, int planes, Shape s, int64_t i, int64_t j, Patch *p) {
  const int64_t rows = 2 * s.h + 1, columns = 2 * s.w + 1;
  for (int c = 0; c < planes; c++) {
    const float *from = x + (c * rows + 2 * i) * columns + 2 * j;
    for (int r = 0; r < 3; r++)
      for (int k = 0; k < 3; k++) p->v[c][3 * r + k] = from[r * columns + k];
  }
}

// corner[k] is where value k of a window begins in a Patch, tap[t] how much
// further the kernel's value t looks.
constexpr int corner[4] = {0, 1, 3, 4}, tap[4] = {0, 1, 3, 4};

// take_gradient takes the gradient of some filters of a pooled value and its index.
NLN_INLINE void take_gradient(const float *gy, const uint8_t *index, int64_t count, float *g, int32_t *which) {
  if (count == kLanes) {
    for (int l = 0; l < kLanes; l++) g[l] = gy[l], which[l] = index[l];
    return;
  }
  for (int l = 0; l < kLanes; l++) g[l] = l < count ? gy[l] : 0, which[l] = l < count ? index[l] : kNone;
}

template <int Planes>
NLN_INLINE void masked_back(const float *x, const float *gy, const uint8_t *index, Shape s, float *gw, float *gbias) {
  const int64_t filters = (s.channels + kLanes - 1) / kLanes * kLanes;
  for (int64_t f = 0; f < filters; f += kLanes) {
    const int64_t count = s.channels - f < kLanes ? s.channels - f : kLanes;
    float sum[Planes * 4][kLanes] = {}, total[kLanes] = {};
    for (int64_t i = 0; i < s.h; i++)
      for (int64_t j = 0; j < s.w; j++) {
        Patch p;
        take(x, Planes, s, i, j, &p);
        const int64_t at = (i * s.w + j) * s.channels + f;
        float g[kLanes];
        int32_t which[kLanes];
        take_gradient(gy + at, index + at, count, g, which);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
          float part[kLanes];
          for (int l = 0; l < kLanes; l++) part[l] = which[l] == k ? g[l] : 0;
          for (int l = 0; l < kLanes; l++) total[l] += part[l];
#pragma GCC unroll 4
          for (int c = 0; c < Planes; c++)
#pragma GCC unroll 4
            for (int t = 0; t < 4; t++) {
              const float v = p.v[c][corner[k] + tap[t]];
              for (int l = 0; l < kLanes; l++) sum[c * 4 + t][l] += part[l] * v;
            }
        }
      }
    for (int t = 0; t < Planes * 4; t++)
      for (int l = 0; l < kLanes; l++) gw[t * filters + f + l] += sum[t][l];
    for (int l = 0; l < kLanes; l++) gbias[f + l] += total[l];
  }
}

template <int Planes>
NLN_INLINE void conv_pool_back_image(const float *w, const float *gy, const uint8_t *index, Shape s, float *gx) {
  const int64_t filters = (s.channels + kLanes - 1) / kLanes * kLanes;
  const int64_t rows = 2 * s.h + 1, columns = 2 * s.w + 1;
  for (int64_t i = 0; i < s.h; i++)
    for (int64_t j = 0; j < s.w; j++) {
      float sum[4][Planes * 4][kLanes] = {};
      for (int64_t f = 0; f < filters; f += kLanes) {
        const int64_t count = s.channels - f < kLanes ? s.channels - f : kLanes;
        const int64_t at = (i * s.w + j) * s.channels + f;
        float g[kLanes];
        int32_t which[kLanes];
        take_gradient(gy + at, index + at, count, g, which);
        for (int k = 0; k < 4; k++) {
          float part[kLanes];
          for (int l = 0; l < kLanes; l++) part[l] = which[l] == k ? g[l] : 0;
          for (int t = 0; t < Planes * 4; t++)
            for (int l = 0; l < kLanes; l++) sum[k][t][l] += part[l] * w[t * filters + f + l];
        }
      }
      for (int c = 0; c < Planes; c++)
        for (int k = 0; k < 4; k++)
          for (int t = 0; t < 4; t++) {
            float all = 0;
            for (int l = 0; l < kLanes; l++) all += sum[k][c * 4 + t][l];
            const int64_t at = corner[k] + tap[t];
            gx[(c * rows + 2 * i + at / 3) * columns + 2 * j + at % 3] += all;
          }
    }
}

// NLN_PLANES calls a template for a number of planes known when compiling.
#define NLN_PLANES(call)     \
  switch (planes) {          \
    case 1: call(1); break;  \
    case 2: call(2); break;  \
    case 3: call(3); break;  \
    case 4: call(4); break;  \
  }

#define NLN_LEVEL(name, target)                                                                                       \
  target void name##_conv_pool_back_image(const float *w, int planes, const float *gy, const uint8_t *index, Shape s, \
                                          float *gx) {                                                                \
    NLN_PLANES(NLN_BACK_IMAGE)                                                                                        \
  }                                                                                                                   \
  target void name##_adam(const Adam &a, int64_t n, const float *g, float *p, float *m, float *v) {                    \
    adam(a, n, g, p, m, v);                                                                                           \
  }                                                                                                                   \
  constexpr Level name{#name, name##_products::kWidth, name##_products::multiply, name##_products::outer, name##_products::kinds, name##_products::turn, name##_products::take, name##_products::give, name##_products::give_back, name##_products::take_back, name##_products::pass, name##_products::relu_pool, name##_products::relu_pool_back, name##_products::conv_pool, name##_products::conv_pool_back,       \
                       name##_conv_pool_back_image, name##_adam};

#define NLN_FORWARD(n) few_planes<n>(x, w, bias, s, y, index)
#define NLN_MASKED_BACK(n) masked_back<n>(x, gy, index, s, gw, gbias)
#define NLN_BACK_IMAGE(n) conv_pool_back_image<n>(w, gy, index, s, gx)

#define NLN_CHOSEN_BACK(n) chosen_back<n>(x, gy, index, s, gw, gbias)

#define NLN_TARGET
#define NLN_BYTES 16
#define NLN_ROWS 6
namespace plain_products {
#include "blocks_products.inc"
// SSE2 has no shuffle by values that are known only at run time.
void conv_pool_back(const float *x, int planes, const float *gy, const uint8_t *index, Shape s, float *gw, float *gbias) {
  NLN_PLANES(NLN_MASKED_BACK)
}
}
NLN_LEVEL(plain, NLN_TARGET)

#if defined(__x86_64__)

#undef NLN_TARGET
#undef NLN_BYTES
#define NLN_TARGET __attribute__((target("avx2,fma")))
#define NLN_BYTES 32
namespace avx2_products {
#include "blocks_products.inc"
}
NLN_LEVEL(avx2, NLN_TARGET)

#undef NLN_TARGET
#undef NLN_BYTES
#undef NLN_ROWS
#define NLN_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")))
#define NLN_BYTES 64
#define NLN_ROWS 8
namespace avx512_products {
#include "blocks_products.inc"
}
NLN_LEVEL(avx512, NLN_TARGET)

#endif

const Level &choose() {
  const char *want = std::getenv("NLN_ISA");
#if defined(__x86_64__)
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool half = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (wide && (!want || std::strcmp(want, "avx512") == 0)) return avx512;
  if (half && (!want || std::strcmp(want, "avx2") == 0)) return avx2;
#endif
  (void)want;
  return plain;
}

}  // namespace

const Level &fastest() {
  static const Level &level = choose();
  return level;
}

}  // namespace nln::blocks
