// What was recorded, for who asks: the services `recorder/audit` and `recorder/dlq`.
//
//   recorder/audit   {"since", "until", "topic", "correlation", "id", "class", "durable",
//                      "after_row", "before_row", "newest", "limit"}, all of them optional
//                     → {"more": bool, "count": n}, a line, then a line for each record
//   recorder/dlq     the same, of dead letters, "topic" being the one they were for;
//                     {"do": "purge", "topic": …, "id": …} → {"purged": n}
//
// A page ends where the next record would not fit; "more" says so, and "after_row" (or "before_row"
// with "newest") goes on from the last one.
#pragma once

#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/store.hpp"
#include "sluice/node.hpp"
#include "sluice/responder.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace sluice::recorder {

inline constexpr const char* kAuditService = "recorder/audit";
inline constexpr const char* kDeadLetterService = "recorder/dlq";

/// Answers of both, without a bus. An error is the caller's.
Result<std::string> answer_audit(std::string_view request, const Archive& archive,
                                 std::uint64_t max_bytes);
Result<std::string> answer_dead_letters(std::string_view request, const Archive& archive,
                                        Store& store, std::uint64_t max_bytes);

/// Bound to one thread but interrupt().
class Service {
 public:
  static Result<std::unique_ptr<Service>> create(Node& node, Store& store, Archive archive,
                                                 std::uint64_t max_message_bytes);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service();

  void step(Deadline deadline);
  void interrupt() noexcept { set_.interrupt(); }

 private:
  Service(Store& store, Archive archive, std::uint64_t reply_bytes, WaitSet set)
      : store_(store),
        archive_(std::move(archive)),
        reply_bytes_(reply_bytes),
        set_(std::move(set)) {}
  Result<void> start(Node& node);

  Store& store_;
  Archive archive_;
  std::uint64_t reply_bytes_;
  WaitSet set_;
  std::unique_ptr<Responder> audit_, dead_letters_;
};

}  // namespace sluice::recorder
