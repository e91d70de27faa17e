// core.h: what the translation units of the core share.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

// The default of NLN_API is for users of the library; here it exports.
#define NLN_API __attribute__((visibility("default")))
#include "nln_core.h"

namespace nln {

// Handles that exist, of all kinds; see nln_live_handles.
extern std::atomic<int64_t> live;

// The number of threads that nln_init was told.
extern std::atomic<int> threads;

// Counted is the base of everything that a handle points to.
struct Counted {
  Counted() { ++live; }
  Counted(const Counted &) = delete;
  Counted &operator=(const Counted &) = delete;
  ~Counted() { --live; }
};

// Error carries a status code through C++ code.
struct Error : std::runtime_error {
  int32_t code;
  Error(int32_t c, const std::string &what) : std::runtime_error(what), code(c) {}
};

[[noreturn]] inline void invalid(const std::string &what) { throw Error(NLN_INVALID, what); }

inline nln_status failure(int32_t code, const char *op, const char *what) noexcept {
  nln_status s{code, nullptr};
  const size_t a = std::strlen(op), b = std::strlen(what);
  s.message = static_cast<char *>(std::malloc(a + b + 3));
  if (s.message) {
    std::memcpy(s.message, op, a);
    std::memcpy(s.message + a, ": ", 2);
    std::memcpy(s.message + a + 2, what, b + 1);
  }
  return s;
}

inline nln_status ok() noexcept { return nln_status{NLN_OK, nullptr}; }

// guarded calls body and turns what it throws into a status that names op. What
// the libraries throw of their own has been made an Error before.
template <class Body>
nln_status guarded(const char *op, Body &&body) noexcept {
  try {
    body();
    return ok();
  } catch (const Error &e) {
    return failure(e.code, op, e.what());
  } catch (const std::bad_alloc &) {
    return failure(NLN_NO_MEMORY, op, "out of memory");
  } catch (const std::exception &e) {
    return failure(NLN_FAILED, op, e.what());
  } catch (...) {
    return failure(NLN_FAILED, op, "unknown exception");
  }
}

// A copy of s that nln_message_free frees.
inline char *owned(const std::string &s) {
  char *p = static_cast<char *>(std::malloc(s.size() + 1));
  if (!p) throw std::bad_alloc();
  std::memcpy(p, s.c_str(), s.size() + 1);
  return p;
}

int torch_threads();       // that libtorch computes with
std::string torch_info();  // members of the JSON object, torch's side
std::string faiss_info();  // the same, FAISS's side

// use_threads makes libtorch, oneDNN, OpenBLAS and FAISS compute with the threads
// of nln_init on the calling thread. They take the number from OpenMP, which keeps
// one for each thread that calls.
void use_threads();

}  // namespace nln
