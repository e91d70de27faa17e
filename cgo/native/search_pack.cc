// search_pack.cc: vectors as small whole numbers; see search.h.
#include <algorithm>
#include <cmath>

#include "search.h"

namespace nln::search {

namespace {

constexpr int64_t kSample = 4096;     // vectors from which the center is found
constexpr int64_t kTrimmed = 256;     // one in so many at both ends of a dimension does not count there
constexpr int64_t kOutliers = 2048;   // one vector in so many, at most, is an outlier
constexpr double kWorthwhile = 1.25;  // outliers are set apart if that makes the codes finer by so much

}  // namespace

double rounding(int64_t dim, double magnitude) {
  return std::sqrt(static_cast<double>(dim)) * magnitude * 0x1p-48;
}

Packed::Packed(const float *vectors, int64_t n, int64_t d)
    : count(n), dim(d), quads(static_cast<int>((d + 3) / 4)), center(d) {
  if (dim > kMaxDim) {
    for (int64_t i = 0; i < count; i++) outliers.push_back(i);
    return;
  }
  choose_center(vectors);
  choose_scale(vectors);
  encode(vectors);
}

// The middle of what each dimension takes, without the ends, from a sample.
void Packed::choose_center(const float *vectors) {
  const int64_t step = std::max<int64_t>(1, count / kSample);
  std::vector<float> values;
  for (int64_t d = 0; d < dim; d++) {
    values.clear();
    for (int64_t i = 0; i < count; i += step) values.push_back(vectors[i * dim + d]);
    const auto trim = static_cast<int64_t>(values.size()) / kTrimmed;
    const auto low = values.begin() + trim, high = values.end() - 1 - trim;
    std::nth_element(values.begin(), low, values.end());
    const double a = *low;
    std::nth_element(values.begin(), high, values.end());
    center[d] = (a + *high) / 2;
    magnitude = std::max(magnitude, std::fabs(center[d]));
  }
}

// The largest deviation of a value from the center becomes code 127, unless a
// few vectors far out would make the codes of all others coarse.
void Packed::choose_scale(const float *vectors) {
  std::vector<double> reach(count);
  for (int64_t i = 0; i < count; i++) {
    const float *v = vectors + i * dim;
    for (int64_t d = 0; d < dim; d++) {
      reach[i] = std::max(reach[i], std::fabs(v[d] - center[d]));
      magnitude = std::max(magnitude, std::fabs(static_cast<double>(v[d])));
    }
  }
  std::vector<double> sorted = reach;
  const auto last = sorted.end() - 1 - count / kOutliers;
  std::nth_element(sorted.begin(), last, sorted.end());
  double limit = *last;
  const double largest = *std::max_element(last, sorted.end());
  if (largest <= kWorthwhile * limit || limit == 0) limit = largest;
  for (int64_t i = 0; i < count; i++) {
    if (reach[i] > limit) outliers.push_back(i);
  }
  if (limit > 0) scale = limit / kCode;
}

void Packed::encode(const float *vectors) {
  const int64_t tiles = (count + kTile - 1) / kTile, bytes = int64_t{kTile} * 4 * quads;
  codes.assign(tiles * bytes, kOffset);
  norms.assign(tiles * kTile, kNever);
  auto outlier = outliers.begin();
  double largest = 0;
  for (int64_t i = 0; i < count; i++) {
    if (outlier != outliers.end() && *outlier == i) {
      ++outlier;
      continue;
    }
    const float *v = vectors + i * dim;
    uint8_t *out = codes.data() + i / kTile * bytes + i % kTile * 4;
    int32_t norm = 0;
    double rest = 0;
    for (int64_t d = 0; d < dim; d++) {
      const double x = v[d] - center[d];
      const double code = std::clamp<double>(std::nearbyint(x / scale), -kCode, kCode);
      const double left = x - code * scale;
      rest += left * left;
      norm += static_cast<int32_t>(code) * static_cast<int32_t>(code);
      out[d / 4 * 4 * kTile + d % 4] = static_cast<uint8_t>(static_cast<int>(code) + kOffset);
    }
    norms[i] = norm;
    largest = std::max(largest, rest);
  }
  residual = std::sqrt(largest) * (1 + 1e-9) + rounding(dim, magnitude);
}

}  // namespace nln::search
