// Makes the n-th allocation, or the n-th system call of those that can be refused, fail in this
// thread. failing.cpp replaces operator new and the calls' functions for the whole program.
#pragma once

#include <cstdint>

namespace sluice::test {

enum class Fails : std::uint8_t { nothing, allocation, system_call };

/// While it lives: the n-th (from 1) one of this thread fails, once.
class Failing {
 public:
  Failing(Fails what, std::uint64_t n) noexcept;
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;
  ~Failing();
  /// Whether it has come to that.
  [[nodiscard]] bool failed() const noexcept;
};

}  // namespace sluice::test
