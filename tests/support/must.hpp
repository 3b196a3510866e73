// The value of a Result, or the end of the test program with the error's sentence.
#pragma once

#include "sluice/result.hpp"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace sluice::test {

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "unexpected error: %s\n", result.error().message.c_str());
    std::abort();
  }
  return std::move(*result);
}

inline void must(Result<void> result) {
  if (!result) {
    std::fprintf(stderr, "unexpected error: %s\n", result.error().message.c_str());
    std::abort();
  }
}

}  // namespace sluice::test
