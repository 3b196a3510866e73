// What detection and recognition say about a frame: FlatBuffers messages (pipeline/results.fbs,
// installed for other languages), as plain structs here.
//
// Each names its frame: by reference, which whoever holds the message can resolve to the original
// pixels when the frame was attached to it (Loan::attach), and by correlation id.
#pragma once

#include "sluice/export.hpp"
#include "sluice/frame.hpp"
#include "sluice/loan.hpp"
#include "sluice/message.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"
#include "sluice/sample.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// Pixels of the frame as it lies in memory (not rotated); the origin is its upper left corner.
struct Box {
  float x = 0, y = 0, width = 0, height = 0;
  friend bool operator==(const Box&, const Box&) = default;
};
struct Point {
  float x = 0, y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};

/// The frame that a result is about.
struct FrameOf {
  Reference reference;          ///< To the frame's message.
  CorrelationId correlation;    ///< The frame's.
  std::uint64_t origin_ns = 0;  ///< When it was captured, CLOCK_MONOTONIC.
  std::string camera;
  std::uint64_t number = 0;  ///< FrameHeader::number.
  std::uint32_t width = 0;   ///< Pixels.
  std::uint32_t height = 0;
  friend bool operator==(const FrameOf&, const FrameOf&) = default;
};
/// Of a frame that was taken; `view` is of `sample`.
SLUICE_EXPORT FrameOf frame_of(const Sample& sample, const FrameView& view);

struct Detection {
  Box box;
  float score = 0;    ///< Larger is surer; its range is the model's.
  std::string label;  ///< "face", "person", …
  std::vector<Point> landmarks;
  friend bool operator==(const Detection&, const Detection&) = default;
};
struct Detections {
  FrameOf frame;
  std::string model;  ///< That found them, for people.
  std::vector<Detection> detections;
  friend bool operator==(const Detections&, const Detections&) = default;
};

struct Identity {
  Box box;
  std::string name;  ///< "unknown" for a face that is none of the enrolled.
  float distance =
      0;  ///< To the nearest enrolled face; smaller is surer; its range is the model's.
  float confidence = 0;  ///< 0 to 1; 0 at the model's threshold.
  friend bool operator==(const Identity&, const Identity&) = default;
};
struct Identities {
  FrameOf frame;
  std::string model;
  std::vector<Identity> identities;
  friend bool operator==(const Identities&, const Identities&) = default;
};

inline constexpr std::string_view kUnknownName = "unknown";

/// Type names and hashes for StreamOptions and SubscriptionOptions.
inline constexpr std::string_view kDetectionsType = "sluice.Detections";
inline constexpr std::string_view kIdentitiesType = "sluice.Identities";
inline constexpr std::string_view kFrameType = "sluice.Frame";
SLUICE_EXPORT std::uint64_t type_hash_of(std::string_view type_name) noexcept;  ///< Never 0.

/// Streams for results: one small pool, one reference per message, the type filled in. A message
/// has room for `max_results` results of ordinary size.
SLUICE_EXPORT StreamOptions results_stream(std::string_view type_name,
                                           std::uint32_t max_results = 64);

/// Serialized, at most kMaxResultBytes; what is beyond that is an error that says so.
SLUICE_EXPORT Result<std::vector<std::byte>> encode(const Detections& detections);
SLUICE_EXPORT Result<std::vector<std::byte>> encode(const Identities& identities);
inline constexpr std::size_t kMaxResultBytes = 1u << 20;

/// Verified, then copied out; `untrusted` with a sentence when the bytes are something else.
/// Strings longer than 255 bytes and numbers that are not finite are refused.
SLUICE_EXPORT Result<Detections> decode_detections(std::span<const std::byte> bytes);
SLUICE_EXPORT Result<Identities> decode_identities(std::span<const std::byte> bytes);

}  // namespace sluice
