// team.h: threads of our own for the searches.
//
// libgomp keeps a pool for each thread that opens a parallel region, and
// goroutines come from any thread: a program would end up with as many pools as
// it has threads. Here all callers share one pool, whose idle threads sleep.
#pragma once

#include <cstdint>
#include <functional>

namespace nln {

// A Team is some of the threads of nln_init, at least one, the caller's. Teams
// that exist at the same time share them instead of each taking all.
class Team {
 public:
  explicit Team(int64_t want);
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  // run calls body(i) for 0 to n-1, on the caller's and other threads, and passes
  // the first exception on.
  void run(int64_t n, const std::function<void(int64_t)> &body) const;

  int size;
};

}  // namespace nln
