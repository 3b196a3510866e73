// What the gateway is told: a TOML file; docs/iceoryx.md has every key.
#pragma once

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/pattern.hpp"
#include "sluice/result.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::iceoryx {

/// Chunks that iceoryx lets one subscriber hold; some are kept back for what is just being taken.
inline constexpr std::uint32_t kMostHeld = 250;
/// iceoryx's history of a publisher.
inline constexpr std::uint32_t kMostHistory = 16;

enum class Side : std::uint8_t { iceoryx, sluice };

/// What is published on one side and carried to the other.
struct Route {
  Side from = Side::iceoryx;
  ServiceIds ids;               ///< From iceoryx: patterns; else templates.
  std::string topic;            ///< From iceoryx: a template; else a filter.
  std::uint32_t depth = 16;     ///< Samples that may wait in a stream.
  std::uint32_t max_held = 32;  ///< Of all its subscribers together.
  std::uint32_t history = 0;
  bool envelope = false;     ///< From iceoryx: as messages of the bus.
  bool zero_copy = true;     ///< From iceoryx: without copying where that is possible.
  bool user_header = false;  ///< From Sluice: with the gateway's header.
  std::string type;          ///< From iceoryx: as what C++ type; empty: untyped.
  std::uint64_t type_bytes = 0, type_alignment = 8;  ///< Its size, its alignment.
  std::uint32_t line = 0, column = 0;                ///< In the file.
};

/// Requests from one side that are answered on the other.
struct Service {
  Side from = Side::iceoryx;
  ServiceIds ids;    ///< From iceoryx: the service that is offered there; else patterns.
  std::string name;  ///< The Sluice service; from Sluice: a template.
  std::uint32_t request_bytes = 4'096;
  std::uint32_t reply_bytes = 4'096;
  std::uint32_t max_pending = 32;
  std::chrono::milliseconds timeout{5'000};
  std::uint32_t line = 0, column = 0;
};

struct Config {
  std::string socket;  ///< Of the broker; empty: the default.
  std::string node = "iceoryx";
  std::string runtime = "sluice-iceoryx";  ///< The gateway's name at RouDi.
  daemon::LogOptions log;
  std::vector<Route> routes;
  std::vector<Service> services;
};

/// The placeholders of each kind of rule, in the order of the values that Template::expand takes.
const std::vector<std::string>& ids_placeholders();
std::vector<std::string> filter_placeholders(std::string_view filter);

/// "from iceoryx 'Radar/*/Object' to 'radar/{instance}'", for people.
std::string to_string(const Route& route);

/// Errors name the place: "source:line:column: what is wrong; what to do about it".
Result<Config> parse_config(std::string_view text, std::string source_name);
Result<Config> load_config(const std::string& path);

}  // namespace sluice::iceoryx
