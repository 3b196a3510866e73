// What requesters and workers agree on. Topics:
//
//   $request/<service>                                          requester -> workers, as a group
//   $reply/<service>/<requester's node id, 16 hex>/<number>     worker -> requester
//
// The number is the id of the stream that the requests come by. So a request need not say where its
// reply goes, and cannot: stream and node are what the broker says of whoever publishes it. What
// it says, beside an event's, is the number of the call and, in `status`, how many calls its
// requester may have outstanding.
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
/// Largest number of calls that a requester may have outstanding.
inline constexpr std::uint32_t kMaxCalls = 4'096;
/// Largest number of requests that one worker may hold of one requester.
inline constexpr std::uint32_t kMaxRequestCredits = 64;

/// A service is named like a topic, without a '$' in front, in at most kMaxServiceBytes.
Result<void> check_service(std::string_view service);
std::string request_topic(std::string_view service);
/// `stream_id`: of the requester's requests.
std::string reply_topic(std::string_view service, std::uint64_t node_id, std::uint64_t stream_id);

}  // namespace sluice::bus
