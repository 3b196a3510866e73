// Recognises messages that came before, by their ids.
#pragma once

#include "sluice/envelope.hpp"
#include "sluice/export.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace sluice {

struct DuplicateWindowOptions {
  std::uint32_t count = 0;  ///< Ids remembered; 0: none, nothing is a duplicate. At most 1 << 20.
  std::uint64_t window_ns = 120'000'000'000;  ///< How long each is remembered at most.
};

/// Bounded by count and time: what left the window is new again. All memory is allocated when it is
/// made; each call takes constant time. Thread-compatible.
class SLUICE_EXPORT DuplicateWindow {
 public:
  explicit DuplicateWindow(DuplicateWindowOptions options = {});
  DuplicateWindow(DuplicateWindow&&) noexcept;
  DuplicateWindow& operator=(DuplicateWindow&&) noexcept;
  ~DuplicateWindow();

  /// Whether the id is remembered.
  [[nodiscard]] bool contains(const MessageId& id, std::uint64_t now_ns) const noexcept;
  /// Remembers it; whether it is new. The oldest makes room. An id of zeros is none: always new.
  bool insert(const MessageId& id, std::uint64_t now_ns) noexcept;
  /// Forgets it, if it is there: it was not dealt with after all.
  void erase(const MessageId& id) noexcept;
  [[nodiscard]] std::size_t size() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
