// What requesters and workers agree on. Topics:
//
//   $request/<service>                                          requester -> workers, as a group
//   $reply/<service>/<requester's node id, 16 hex>/<number>     worker -> requester
#pragma once

#include "sluice/options.hpp"
#include "sluice/result.hpp"
#include "transport/bus/message_publisher_impl.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::bus {

inline constexpr GroupName kServeGroup{"$serve"};
inline constexpr std::size_t kMaxServiceBytes = 256;
/// Replies that a worker keeps for a requester that has not attached to its stream yet.
inline constexpr std::uint32_t kEarlyReplies = 16;
/// Replies of one worker that a requester's program may hold at a time.
inline constexpr std::uint32_t kRepliesHeld = 16;
/// Largest number of calls that a requester may have outstanding.
inline constexpr std::uint32_t kMaxCalls = 4'096;
/// Largest number of requests that one worker may hold of one requester.
inline constexpr std::uint32_t kMaxRequestCredits = 64;

/// A service is named like a topic, without a '$' in front, in at most kMaxServiceBytes.
Result<void> check_service(std::string_view service);
std::string request_topic(std::string_view service);
std::string reply_topic(std::string_view service, std::uint64_t node_id, std::uint64_t number);
/// Whether a requester of this node may want its replies there. Of a foreign text.
bool is_reply_topic(std::string_view topic, std::string_view service,
                    std::uint64_t node_id) noexcept;

}  // namespace sluice::bus
