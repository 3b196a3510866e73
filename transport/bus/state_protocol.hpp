// What a keeper of state and its clients say to each other, in requests to `state/<bucket>`.
//
//   request:  StateRequest, key, value            reply: StateAnswer, then the value, or keys, each
//   ended by NUL
//
// The answer of `keys` may not hold all: who asks goes on behind the last one.
#pragma once

#include "sluice/state.hpp"

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::bus {

enum class StateOperation : std::uint32_t {
  get = 1,
  set = 2,
  compare_and_set = 3,
  erase = 4,
  keys = 5,  // key: the filter; value: the key to begin behind
};

struct StateRequest {
  StateOperation operation = StateOperation::get;
  std::uint32_t key_bytes = 0;
  std::uint64_t revision = 0;
};
static_assert(sizeof(StateRequest) == 16);

struct StateAnswer {
  std::uint64_t revision = 0;  // of the key; of `keys`: 1 if there are more
};
static_assert(sizeof(StateAnswer) == 8);

inline constexpr std::size_t kMaxKeyBytes = 256;

struct ReadStateRequest {
  StateRequest head;
  std::string_view key;
  std::span<const std::byte> value;
};
/// Nothing where it is not one.
std::optional<ReadStateRequest> read_state_request(std::span<const std::byte> payload) noexcept;

/// A bucket's name is one level of a topic.
Result<void> check_bucket(std::string_view bucket);
std::string state_service(std::string_view bucket);
std::string state_topic(std::string_view bucket, std::string_view key);

}  // namespace sluice::bus
