// search_kernel.cc: scores of a tile of vectors for a group of queries, once for
// each level of instructions. One core holds all levels and takes the best that
// the processor has; all give the same scores, which are whole numbers.
#include <cstring>

#include "search.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nln::search {

namespace {

int32_t quad_of(const int8_t *queries, int quads, int query, int quad) {
  int32_t four;
  std::memcpy(&four, queries + (int64_t{query} * quads + quad) * 4, 4);
  return four;
}

// collect appends the lanes of one query that mask names.
inline int collect(uint64_t mask, int query, int first, const int32_t *scores, Hit *hits) {
  int n = 0;
  for (; mask; mask &= mask - 1) {
    const int lane = __builtin_ctzll(mask);
    hits[n++] = {scores[lane], static_cast<int16_t>(query), static_cast<int16_t>(first + lane)};
  }
  return n;
}

// Vectors of 128 bits, which the compiler turns into what any target has; x86
// has one instruction for pairs(), arm64 takes the plain form.
typedef uint8_t Bytes8 __attribute__((vector_size(8)));
typedef int8_t Chars8 __attribute__((vector_size(8)));
typedef int16_t Short8 __attribute__((vector_size(16)));
typedef int32_t Int4 __attribute__((vector_size(16)));

// pairs returns a[0]b[0] + a[1]b[1] and so on. Each product fits in 16 bits:
// 255 * 127 < 2^15.
inline Int4 pairs(Short8 a, Short8 b) {
#if defined(__x86_64__)
  return Int4(_mm_madd_epi16(__m128i(a), __m128i(b)));
#else
  const Int4 both = Int4(a * b);
  return ((both << 16) >> 16) + (both >> 16);
#endif
}

// The four values of a query twice, as 16 bits each.
inline Short8 query_pair(const int8_t *four) {
  Chars8 twice;
  std::memcpy(&twice, four, 4);
  std::memcpy(reinterpret_cast<char *>(&twice) + 4, four, 4);
  return __builtin_convertvector(twice, Short8);
}

// score8_plain stores the scores of 8 vectors for M queries, kTile apart. A sum
// of 128 bits holds two halves of the sums of two vectors.
template <int M>
inline void score8_plain(const uint8_t *codes, const int32_t *norms, int quads, int shift, const int8_t *queries,
                         int32_t *scores) {
  Int4 sum[M][4] = {};
  for (int d = 0; d < quads; d++, codes += 4 * kTile) {
    Bytes8 bytes[4];
    std::memcpy(bytes, codes, sizeof bytes);
#pragma GCC unroll 2
    for (int m = 0; m < M; m++) {
      const Short8 q = query_pair(queries + (int64_t{m} * quads + d) * 4);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) sum[m][j] += pairs(__builtin_convertvector(bytes[j], Short8), q);
    }
  }
  Int4 norm[2];
  std::memcpy(norm, norms, sizeof norm);
#pragma GCC unroll 2
  for (int m = 0; m < M; m++) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      const Int4 a = sum[m][2 * j], b = sum[m][2 * j + 1];
      const Int4 score = __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7) -
                         (norm[j] >> shift);
      std::memcpy(scores + m * kTile + 4 * j, &score, sizeof score);
    }
  }
}

// Two queries at a time, for which there are registers, through the whole tile.
template <int M>
int score_plain(const uint8_t *tile, const int32_t *norms, int quads, int shift, const int8_t *queries,
                const int32_t *thresholds, Hit *hits) {
  int32_t scores[M * kTile];
  for (int m = 0; m < M; m += 2) {
    const int8_t *q = queries + int64_t{m} * quads * 4;
    for (int i = 0; i < kTile; i += 8) {
      score8_plain<(M > 1 ? 2 : 1)>(tile + 4 * i, norms + i, quads, shift, q, scores + m * kTile + i);
    }
  }
  int found = 0;
  for (int m = 0; m < M; m++) {
    uint64_t mask = 0;
    for (int i = 0; i < kTile; i++) mask |= uint64_t{scores[m * kTile + i] >= thresholds[m]} << i;
    found += collect(mask, m, 0, scores + m * kTile, hits + found);
  }
  return found;
}

#if defined(__x86_64__)

#define NLN_AVX2 __attribute__((target("avx2")))
#define NLN_VNNI __attribute__((target("avx512f,avx512vnni")))

// 16 vectors and M queries in the 16 registers of AVX2. The products of
// vpmaddubsw are added in pairs in 16 bits, which the smaller codes of the
// queries keep from saturating: 2 * 255 * 63 < 2^15.
template <int M>
NLN_AVX2 inline int score16_avx2(const uint8_t *tile, const int32_t *norms, int quads, int shift, const int8_t *queries,
                                 const int32_t *thresholds, int first, int query, Hit *hits) {
  const __m128i count = _mm_cvtsi32_si128(shift);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[M][2];
  for (int j = 0; j < 2; j++) {
    const __m256i norm = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(norms + first + 8 * j));
    const __m256i start = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_srl_epi32(norm, count));
    for (int m = 0; m < M; m++) sum[m][j] = start;
  }
  const uint8_t *v = tile + 4 * first;
  for (int d = 0; d < quads; d++, v += 4 * kTile) {
    const __m256i v0 = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(v));
    const __m256i v1 = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(v + 32));
#pragma GCC unroll 4
    for (int m = 0; m < M; m++) {
      const __m256i q = _mm256_set1_epi32(quad_of(queries, quads, query + m, d));
      sum[m][0] = _mm256_add_epi32(sum[m][0], _mm256_madd_epi16(_mm256_maddubs_epi16(v0, q), ones));
      sum[m][1] = _mm256_add_epi32(sum[m][1], _mm256_madd_epi16(_mm256_maddubs_epi16(v1, q), ones));
    }
  }
  int found = 0;
  for (int m = 0; m < M; m++) {
    const __m256i threshold = _mm256_set1_epi32(thresholds[query + m]);
    const auto below0 = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(threshold, sum[m][0])));
    const auto below1 = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(threshold, sum[m][1])));
    const uint32_t mask = ~static_cast<uint32_t>(below0 | below1 << 8) & 0xffff;
    if (__builtin_expect(mask != 0, 0)) {
      int32_t scores[16];
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(scores), sum[m][0]);
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(scores + 8), sum[m][1]);
      found += collect(mask, query + m, first, scores, hits + found);
    }
  }
  return found;
}

template <int M>
NLN_AVX2 int score_avx2(const uint8_t *tile, const int32_t *norms, int quads, int shift, const int8_t *queries,
                        const int32_t *thresholds, Hit *hits) {
  constexpr int A = M > 4 ? M - M / 2 : M, B = M - A;  // 6 queries are 3 and 3
  int found = 0;
  for (int first = 0; first < kTile; first += 16) {
    found += score16_avx2<A>(tile, norms, quads, shift, queries, thresholds, first, 0, hits + found);
    if constexpr (B > 0)
      found += score16_avx2<B>(tile, norms, quads, shift, queries, thresholds, first, A, hits + found);
  }
  return found;
}

// The vector types of the compiler: its header's own operations warn of
// themselves in gcc 12.
typedef int32_t Int16 __attribute__((vector_size(64)));
typedef int32_t LooseInt16 __attribute__((vector_size(64), aligned(4), may_alias));

NLN_VNNI inline Int16 multiply_add(Int16 sum, Int16 codes, Int16 query) {
  return Int16(_mm512_dpbusd_epi32(__m512i(sum), __m512i(codes), __m512i(query)));
}

NLN_VNNI inline Int16 load16(const void *p) { return *static_cast<const LooseInt16 *>(p); }

NLN_VNNI inline Int16 larger(Int16 a, Int16 b) { return a > b ? a : b; }

// collect_all finds the hits among the scores of a whole tile.
NLN_VNNI __attribute__((noinline)) int collect_all(int queries, const int32_t *scores, const int32_t *thresholds,
                                                   Hit *hits) {
  int found = 0;
  for (int m = 0; m < queries; m++, scores += kTile) {
    const __m512i threshold = __m512i(thresholds[m] + Int16{});
    uint64_t mask = 0;
    for (int j = 0; j < 4; j++) {
      mask |= uint64_t{_mm512_cmpge_epi32_mask(__m512i(load16(scores + 16 * j)), threshold)} << (16 * j);
    }
    found += collect(mask, m, 0, scores, hits + found);
  }
  return found;
}

// The whole tile and M queries: 4 M sums, 4 registers of vectors, one of a query.
template <int M>
NLN_VNNI int score_vnni(const uint8_t *tile, const int32_t *norms, int quads, int shift, const int8_t *queries,
                        const int32_t *thresholds, Hit *hits) {
  Int16 a[M], b[M], c[M], d[M];
#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
    a[m] = -(load16(norms) >> shift), b[m] = -(load16(norms + 16) >> shift);
    c[m] = -(load16(norms + 32) >> shift), d[m] = -(load16(norms + 48) >> shift);
  }
  for (int i = 0; i < quads; i++, tile += 4 * kTile) {
    const Int16 v0 = load16(tile), v1 = load16(tile + 64), v2 = load16(tile + 128), v3 = load16(tile + 192);
#pragma GCC unroll 6
    for (int m = 0; m < M; m++) {
      const Int16 q = quad_of(queries, quads, m, i) + Int16{};
      a[m] = multiply_add(a[m], v0, q), b[m] = multiply_add(b[m], v1, q);
      c[m] = multiply_add(c[m], v2, q), d[m] = multiply_add(d[m], v3, q);
    }
  }
  uint32_t any = 0;
#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
    const Int16 best = larger(larger(a[m], b[m]), larger(c[m], d[m]));
    any |= _mm512_cmpge_epi32_mask(__m512i(best), __m512i(thresholds[m] + Int16{}));
  }
  if (__builtin_expect(any == 0, 1)) return 0;
  int32_t scores[M][kTile];
#pragma GCC unroll 6
  for (int m = 0; m < M; m++) {
    std::memcpy(scores[m], &a[m], 64), std::memcpy(scores[m] + 16, &b[m], 64);
    std::memcpy(scores[m] + 32, &c[m], 64), std::memcpy(scores[m] + 48, &d[m], 64);
  }
  return collect_all(M, scores[0], thresholds, hits);
}

#endif

}  // namespace

#define NLN_KERNELS(score) {nullptr, score<1>, score<2>, score<3>, score<4>, score<5>, score<6>}

std::vector<Level> levels() {
  std::vector<Level> all;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512vnni")) all.push_back({"avx512vnni", 127, NLN_KERNELS(score_vnni)});
  if (__builtin_cpu_supports("avx2")) all.push_back({"avx2", 63, NLN_KERNELS(score_avx2)});
#endif
  all.push_back({"plain", 127, NLN_KERNELS(score_plain)});
  return all;
}

}  // namespace nln::search
