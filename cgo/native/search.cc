// search.cc: exact nearest neighbours; search.h says how and why it is exact.
// This file must be compiled with -ffp-contract=off: a distance is the same to
// the bit on every machine, which a fused multiplication would change.
#include "search.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "core.h"
#include "team.h"

namespace nln::search {

namespace {

constexpr int64_t kBlock = 40 * kGroup;        // queries that go through the tiles together
constexpr int64_t kSplitBytes = int64_t{1} << 20;  // codes that are worth a thread of their own
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A Near is a vector at its exact distance. Of equal ones the lowest id is nearest.
struct Near {
  float dist;
  int64_t id;
  bool operator<(const Near &o) const { return dist < o.dist || (dist == o.dist && id < o.id); }
};

struct Candidate {
  int32_t score;
  int64_t id;
};

bool better(const Candidate &a, const Candidate &b) { return a.score > b.score; }

// root_sums stores the distances of q from four vectors: the root of the
// float64 sum, in order of dimension, of the squared differences, rounded to
// float32. Four sums at a time, since one has to wait for its last addition.
void root_sums(const float *q, const float *const v[4], int64_t dim, float out[4]) {
  double a = 0, b = 0, c = 0, d = 0;
  for (int64_t i = 0; i < dim; i++) {
    const double x = q[i], da = x - v[0][i], db = x - v[1][i], dc = x - v[2][i], dd = x - v[3][i];
    a += da * da, b += db * db, c += dc * dc, d += dd * dd;
  }
  out[0] = static_cast<float>(std::sqrt(a)), out[1] = static_cast<float>(std::sqrt(b));
  out[2] = static_cast<float>(std::sqrt(c)), out[3] = static_cast<float>(std::sqrt(d));
}

// widened returns a distance such that a vector beyond it is beyond t after
// rounding to float32 as well: two units of the last place, also of the
// smallest numbers, and infinity where rounding can give that.
double widened(double t) { return t > FLT_MAX / 2 ? kInfinity : t * (1 + 0x1p-22) + 0x1p-148; }

// A Search is one call: vectors, of which the first packed.count are packed.
struct Search {
  const Packed &packed;
  const Level &level;
  const float *vectors;
  int64_t count, k;
};

// A Query is one query on its way through the tiles.
class Query {
 public:
  // shift_of returns e of search.h for one query alone, more than kMaxShift if
  // it lies too far out.
  static int shift_of(const Search &s, const float *q);

  // The query q for searching with a shift of at least its own; codes has room
  // for 4 * quads.
  Query(const Search &s, const float *q, int shift, int8_t *codes);

  // The score from which on a vector can be a neighbour.
  int32_t threshold() const;

  // take notes a hit; it returns whether the threshold may have changed.
  bool take(int32_t score, int64_t id);

  // compare computes the distances of n vectors, whose ids id(i) gives.
  template <class ID>
  void compare(int64_t n, ID id);

  // join adds what another scan of the same query found among other vectors.
  void join(Query &other);

  // finish decides, and stores the neighbours in order.
  void finish(float *dist, int64_t *ids);

 private:
  double upper(int32_t score) const;
  void tighten();
  void offer(Near n);

  const Search *s_;
  const float *q_;
  double lift_ = 0, unit_ = 1, slack_ = 0;  // 4^e |Q|^2, 2^(e+1), rq + rv
  int64_t bias_ = 0;                        // what kOffset adds to each score
  double limit_ = kInfinity;                // the last neighbour is not farther
  size_t room_;                             // for candidates, before tighten
  std::vector<Candidate> pending_;
  std::vector<Near> nearest_;  // a heap, the farthest in front; k at most
};

int Query::shift_of(const Search &s, const float *q) {
  double reach = 0;
  for (int64_t d = 0; d < s.packed.dim; d++) reach = std::max(reach, std::fabs(q[d] - s.packed.center[d]));
  int shift = 0;
  for (double most = s.packed.scale * s.level.code; reach > most && shift <= kMaxShift; most *= 2) shift++;
  return shift;
}

Query::Query(const Search &s, const float *q, int shift, int8_t *codes) : s_(&s), q_(q), room_(2 * s.k + 24) {
  const Packed &p = s.packed;
  const double step = std::ldexp(p.scale, shift);
  double norm = 0, rest = 0, magnitude = p.magnitude;
  int64_t sum = 0;
  std::fill(codes, codes + 4 * p.quads, 0);
  for (int64_t d = 0; d < p.dim; d++) {
    const double x = q[d] - p.center[d];
    const double code = std::clamp<double>(std::nearbyint(x / step), -s.level.code, s.level.code);
    const double left = x - code * step;
    magnitude = std::max(magnitude, std::fabs(static_cast<double>(q[d])));
    rest += left * left;
    norm += code * code;
    sum += static_cast<int64_t>(code);
    codes[d] = static_cast<int8_t>(code);
  }
  lift_ = std::ldexp(norm, 2 * shift);
  unit_ = std::ldexp(2, shift);
  slack_ = p.residual + std::sqrt(rest) * (1 + 1e-9) + rounding(p.dim, magnitude);
  bias_ = sum * kOffset;
  pending_.reserve(room_);
  nearest_.reserve(s.k + 1);
}

// The floor in a score adds less than one unit, which the filter may take for
// nearness; two more and the factor cover rounding, of lift_ as well.
int32_t Query::threshold() const {
  const double r = (limit_ + slack_) / s_->packed.scale;
  const double score = std::floor((lift_ - r * r * (1 + 1e-9)) / unit_) - 2 + static_cast<double>(bias_);
  if (!(score > INT32_MIN)) return INT32_MIN;
  return score < INT32_MAX ? static_cast<int32_t>(score) : INT32_MAX;
}

// upper returns a distance beyond which no vector with that score is.
double Query::upper(int32_t score) const {
  const double square = lift_ - unit_ * (static_cast<double>(score) - static_cast<double>(bias_) - 3);
  return std::sqrt(std::max(square, 0.0)) * (1 + 1e-9) * s_->packed.scale + slack_;
}

bool Query::take(int32_t score, int64_t id) {
  pending_.push_back({score, id});
  if (pending_.size() < room_) return false;
  tighten();
  return true;
}

// tighten lowers the limit by what the candidates' scores say, and by their
// distances where that leaves too many of them.
void Query::tighten() {
  const auto k = static_cast<size_t>(s_->k);
  if (pending_.size() >= k) {
    std::nth_element(pending_.begin(), pending_.begin() + (k - 1), pending_.end(), better);
    limit_ = std::min(limit_, widened(upper(pending_[k - 1].score)));
  }
  const int32_t least = threshold();
  const auto beyond = [&](const Candidate &c) { return c.score < least; };
  pending_.erase(std::remove_if(pending_.begin(), pending_.end(), beyond), pending_.end());
  if (pending_.size() <= room_ / 2) return;
  compare(static_cast<int64_t>(pending_.size()), [&](int64_t i) { return pending_[i].id; });
  pending_.clear();
}

template <class ID>
void Query::compare(int64_t n, ID id) {
  const int64_t dim = s_->packed.dim;
  for (int64_t i = 0; i < n; i += 4) {
    const float *v[4];
    float dist[4];
    for (int64_t j = 0; j < 4; j++) v[j] = s_->vectors + id(std::min(i + j, n - 1)) * dim;
    root_sums(q_, v, dim, dist);
    for (int64_t j = 0; j < std::min<int64_t>(4, n - i); j++) offer({dist[j], id(i + j)});
  }
}

void Query::offer(Near n) {
  if (static_cast<int64_t>(nearest_.size()) == s_->k) {
    if (!(n < nearest_.front())) return;
    std::pop_heap(nearest_.begin(), nearest_.end());
    nearest_.pop_back();
  }
  nearest_.push_back(n);
  std::push_heap(nearest_.begin(), nearest_.end());
  if (static_cast<int64_t>(nearest_.size()) == s_->k) limit_ = std::min(limit_, widened(nearest_.front().dist));
}

void Query::join(Query &other) {
  pending_.insert(pending_.end(), other.pending_.begin(), other.pending_.end());
  for (const Near &n : other.nearest_) offer(n);
  limit_ = std::min(limit_, other.limit_);
}

// Candidates are compared from the best score on; the distances found soon say
// that no further one can be a neighbour.
void Query::finish(float *dist, int64_t *ids) {
  constexpr int64_t step = 4;
  std::sort(pending_.begin(), pending_.end(), better);
  const auto n = static_cast<int64_t>(pending_.size());
  for (int64_t i = 0; i < n && pending_[i].score >= threshold(); i += step) {
    compare(std::min(step, n - i), [&](int64_t j) { return pending_[i + j].id; });
  }
  std::sort_heap(nearest_.begin(), nearest_.end());
  for (int64_t i = 0; i < s_->k; i++) dist[i] = nearest_[i].dist, ids[i] = nearest_[i].id;
}

// A Block is some queries that go through the tiles together, with one shift
// for each group of them.
class Block {
 public:
  // order lists the queries, n of them, by shift.
  Block(const Search &s, const float *queries, const int64_t *order, const int *shifts, int64_t n);

  // scan takes all queries through the tiles from..to-1.
  void scan(int64_t from, int64_t to);

  // compare_rest compares with the vectors that are in no tile.
  void compare_rest();

  void join(Block &other) {
    for (size_t i = 0; i < queries_.size(); i++) queries_[i].join(other.queries_[i]);
  }

  void finish(float *dist, int64_t *ids) {
    for (size_t i = 0; i < queries_.size(); i++) queries_[i].finish(dist + order_[i] * s_->k, ids + order_[i] * s_->k);
  }

 private:
  const Search *s_;
  const int64_t *order_;
  std::vector<Query> queries_;
  std::vector<int8_t> codes_;
  std::vector<int32_t> thresholds_;
  std::vector<int> shifts_;  // of the groups
};

Block::Block(const Search &s, const float *queries, const int64_t *order, const int *shifts, int64_t n)
    : s_(&s), order_(order), codes_(n * 4 * s.packed.quads), thresholds_(n, INT32_MIN) {
  queries_.reserve(n);
  for (int64_t i = 0; i < n; i++) {
    if (i % kGroup == 0) shifts_.push_back(shifts[order[std::min(i + kGroup, n) - 1]]);
    queries_.emplace_back(s, queries + order[i] * s.packed.dim, shifts_.back(), codes_.data() + i * 4 * s.packed.quads);
  }
}

void Block::scan(int64_t from, int64_t to) {
  const Packed &p = s_->packed;
  const int64_t tile_bytes = int64_t{4} * kTile * p.quads;
  const auto n = static_cast<int64_t>(queries_.size());
  Hit hits[kTile * kGroup];
  for (int64_t tile = from; tile < to; tile++) {
    const int32_t *norms = p.norms.data() + tile * kTile;
    for (int64_t first = 0; first < n; first += kGroup) {
      const int shift = shifts_[first / kGroup];
      if (shift > kMaxShift) break;  // and all that follow
      const int found = s_->level.kernel[std::min<int64_t>(kGroup, n - first)](
          p.codes.data() + tile * tile_bytes, norms, p.quads, shift + 1, codes_.data() + first * 4 * p.quads,
          thresholds_.data() + first, hits);
      for (int h = 0; h < found; h++) {
        const int64_t q = first + hits[h].query;
        if (norms[hits[h].lane] == kNever || hits[h].score < thresholds_[q]) continue;
        if (queries_[q].take(hits[h].score, tile * kTile + hits[h].lane)) thresholds_[q] = queries_[q].threshold();
      }
    }
  }
}

void Block::compare_rest() {
  const Packed &p = s_->packed;
  for (size_t i = 0; i < queries_.size(); i++) {
    if (shifts_[i / kGroup] > kMaxShift) {
      queries_[i].compare(s_->count, [](int64_t j) { return j; });
      continue;
    }
    queries_[i].compare(static_cast<int64_t>(p.outliers.size()), [&](int64_t j) { return p.outliers[j]; });
    queries_[i].compare(s_->count - p.count, [&](int64_t j) { return p.count + j; });
    thresholds_[i] = queries_[i].threshold();
  }
}

// Many queries are divided among the threads.
void run_blocks(const Search &s, const Team &team, const float *queries, const std::vector<int64_t> &order,
                const std::vector<int> &shifts, float *dist, int64_t *ids) {
  const auto n = static_cast<int64_t>(order.size());
  const int64_t share = ((n + team.size - 1) / team.size + kGroup - 1) / kGroup * kGroup;
  const int64_t size = std::min(kBlock, share);
  team.run((n + size - 1) / size, [&](int64_t i) {
    Block block(s, queries, order.data() + i * size, shifts.data(), std::min(size, n - i * size));
    block.compare_rest();
    block.scan(0, s.packed.tiles());
    block.finish(dist, ids);
  });
}

// For few queries the vectors are.
void run_parts(const Search &s, const Team &team, const float *queries, const std::vector<int64_t> &order,
               const std::vector<int> &shifts, float *dist, int64_t *ids) {
  std::vector<Block> parts;
  const Block block(s, queries, order.data(), shifts.data(), static_cast<int64_t>(order.size()));
  for (int i = 0; i < team.size; i++) parts.push_back(block);
  parts[0].compare_rest();
  const int64_t tiles = s.packed.tiles();
  team.run(team.size, [&](int64_t i) { parts[i].scan(tiles * i / team.size, tiles * (i + 1) / team.size); });
  for (int i = 1; i < team.size; i++) parts[0].join(parts[i]);
  parts[0].finish(dist, ids);
}

void run(const Search &s, const float *queries, int64_t n, float *dist, int64_t *ids) {
  std::vector<int> shifts(n);
  std::vector<int64_t> order(n);
  for (int64_t i = 0; i < n; i++) order[i] = i, shifts[i] = Query::shift_of(s, queries + i * s.packed.dim);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return shifts[a] < shifts[b]; });
  const int64_t bytes = static_cast<int64_t>(s.packed.codes.size());
  const Team team(std::max(n / kGroup, 1 + bytes / kSplitBytes));
  (n < kGroup * team.size ? run_parts : run_blocks)(s, team, queries, order, shifts, dist, ids);
}

}  // namespace

}  // namespace nln::search

using namespace nln;

struct nln_search : Counted {
  search::Packed packed;
  search::Level level;
  nln_search(const float *vectors, int64_t n, int64_t dim, const search::Level &l)
      : packed(vectors, n, dim), level(l) {}
};

nln_status nln_search_levels(char **names) {
  return guarded("search levels", [&] {
    std::string all;
    for (const auto &level : search::levels()) all += (all.empty() ? "" : ",") + std::string(level.name);
    *names = owned(all);
  });
}

nln_status nln_search_new(const float *vectors, int64_t n, int64_t dim, const char *level, nln_search **out) {
  return guarded("new search", [&] {
    if (n < 1 || dim < 1) {
      invalid("have " + std::to_string(n) + " vectors of dimension " + std::to_string(dim) + ", want at least 1 of each");
    }
    for (const auto &l : search::levels()) {
      if (*level && std::strcmp(level, l.name)) continue;
      *out = new nln_search(vectors, n, dim, l);
      return;
    }
    throw Error(NLN_UNSUPPORTED, std::string("this processor has no level ") + level);
  });
}

void nln_search_free(nln_search *s) { delete s; }

nln_status nln_search_run(nln_search *s, const float *vectors, int64_t count, const float *queries, int64_t n,
                          int64_t k, float *dist, int64_t *ids) {
  return guarded("search", [&] {
    if (count < s->packed.count) {
      invalid("have " + std::to_string(count) + " vectors, want those packed, " + std::to_string(s->packed.count));
    }
    if (k < 1 || k > count) {
      invalid("have k = " + std::to_string(k) + ", want 1 to the number of vectors, " + std::to_string(count));
    }
    search::run({s->packed, s->level, vectors, count, k}, queries, n, dist, ids);
  });
}
