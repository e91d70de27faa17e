// search.h: what the parts of the exact search share.
//
// The search is exact: a filter over quantised vectors names, in integers, all
// vectors that can be among the nearest, and their distances are then computed
// in float64. The filter may let too much pass and never too little:
//
// Centred by c and scaled by 1/s, a vector v is rounded to whole numbers V from
// -127 to 127, and a query q, more coarsely where it lies far out, to 2^e Q.
// c + s V is at a distance of v that is known, at most rv, and c + s 2^e Q at a
// known distance rq of q. The triangle inequality then gives
//
//   s |2^e Q - V| - rq - rv  <=  |q - v|  <=  s |2^e Q - V| + rq + rv
//
// where |2^e Q - V|^2 = 4^e |Q|^2 + |V|^2 - 2^(e+1) Q.V is whole and exact. A
// vector's score, the larger the nearer, is Q.V - floor(|V|^2 / 2^(e+1)).
#pragma once

#include <cstdint>
#include <vector>

namespace nln::search {

constexpr int kTile = 64;      // vectors that are scored together
constexpr int kGroup = 6;      // queries that are scored together, at most
constexpr int kMaxShift = 20;  // of e; a query that needs more is compared with every vector

// Codes of vectors are stored as code + kOffset, without a sign.
constexpr int kCode = 127, kOffset = 128;

// More dimensions could overflow a score: 127 * 255 * kMaxDim < 2^30.
constexpr int64_t kMaxDim = 32768;

// kNever is the norm of a slot of a tile that is not to be found in it.
constexpr int32_t kNever = INT32_MAX;

// A Hit is a score that reached the threshold of its query.
struct Hit {
  int32_t score;
  int16_t query;  // in the group
  int16_t lane;   // in the tile
};

// Codes of a tile: `quads` times 4 values of each of its kTile vectors. Codes of
// the queries: quads times 4 bytes each. A score is the product of the two, less
// norm >> shift; hits has room for kTile * kGroup, and the result is how many
// there are, query by query.
using Kernel = int (*)(const uint8_t *tile, const int32_t *norms, int quads, int shift, const int8_t *queries,
                       const int32_t *thresholds, Hit *hits);

// A Level is one set of instructions.
struct Level {
  const char *name;
  int code;                  // codes of queries go from -code to code
  Kernel kernel[kGroup + 1]; // by the number of queries, from 1
};

// levels returns those that this processor runs, the fastest first.
std::vector<Level> levels();

// Packed holds the codes of vectors. The vectors themselves stay with the caller.
struct Packed {
  int64_t count = 0, dim = 0;
  int quads = 0;
  double scale = 1;      // s
  double residual = 0;   // rv
  double magnitude = 0;  // the largest absolute value of vectors and center
  std::vector<double> center;
  std::vector<uint8_t> codes;   // tile, quad, vector of the tile, 4 values
  std::vector<int32_t> norms;   // |V|^2 by id; kNever beyond the last one, and of outliers
  std::vector<int64_t> outliers; // far from the rest: compared with every query

  Packed(const float *vectors, int64_t n, int64_t dim);
  int64_t tiles() const { return static_cast<int64_t>(norms.size()) / kTile; }

 private:
  void choose_center(const float *vectors);
  void choose_scale(const float *vectors);
  void encode(const float *vectors);
};

// rounding bounds what float64 rounding adds to a distance between a vector of
// dim values and its code, for values of up to magnitude.
double rounding(int64_t dim, double magnitude);

}  // namespace nln::search
