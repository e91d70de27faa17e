// team.cc: one pool of threads, shared by all that search.
#include "team.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "core.h"

namespace nln {

namespace {

// A Job is one call of run. A thread of the pool may come to it when all is done
// and the caller gone: it then finds no item left and leaves body alone.
struct Job {
  const std::function<void(int64_t)> &body;
  const int64_t n;
  std::atomic<int64_t> next{0};
  std::mutex mutex;  // guards what follows
  std::condition_variable all_done;
  int64_t done = 0;
  std::exception_ptr failed;

  Job(const std::function<void(int64_t)> &b, int64_t count) : body(b), n(count) {}

  void work() {
    for (int64_t i = next++; i < n; i = next++) {
      std::exception_ptr error;
      try {
        body(i);
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard<std::mutex> lock(mutex);
      if (error && !failed) failed = error;
      if (++done == n) all_done.notify_one();
    }
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    all_done.wait(lock, [&] { return done == n; });
    if (failed) std::rethrow_exception(failed);
  }
};

class Pool {
 public:
  // help has `helpers` threads of the pool work at the job. Where the system gives
  // no more threads there are fewer.
  void help(const std::shared_ptr<Job> &job, int helpers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t wanted = jobs_.size() + helpers;
    for (int i = 0; i < helpers; i++) jobs_.push_back(job);
    const auto most = static_cast<size_t>(std::max(threads.load() - 1, 1));
    while (size_ < std::min(wanted + busy_, most)) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error &) {
        break;  // the caller does the work alone
      }
      size_++;
    }
    for (int i = 0; i < helpers; i++) wake_.notify_one();
  }

 private:
  [[noreturn]] void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return !jobs_.empty(); });
      const std::shared_ptr<Job> job = std::move(jobs_.front());
      jobs_.pop_front();
      busy_++;
      lock.unlock();
      job->work();
      lock.lock();
      busy_--;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> jobs_;
  size_t size_ = 0, busy_ = 0;  // threads, and those at work
};

// pool is never freed, since its threads live as long as the program.
Pool &pool() {
  static Pool *const p = new Pool;
  return *p;
}

std::atomic<int> working{0};  // threads in teams

}  // namespace

Team::Team(int64_t want) {
  int now = working.load();
  do {
    size = static_cast<int>(std::clamp<int64_t>(threads.load() - now, 1, std::max<int64_t>(want, 1)));
  } while (!working.compare_exchange_weak(now, now + size));
}

Team::~Team() { working -= size; }

void Team::run(int64_t n, const std::function<void(int64_t)> &body) const {
  const auto job = std::make_shared<Job>(body, n);
  const auto helpers = static_cast<int>(std::min<int64_t>(size, n) - 1);
  if (helpers > 0) pool().help(job, helpers);
  job->work();
  if (n > 0) job->wait();
}

}  // namespace nln
