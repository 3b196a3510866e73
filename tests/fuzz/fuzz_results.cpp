// Results from another process: arbitrary bytes, and valid messages with bytes changed, either are
// refused as untrusted or are read into something that could have been sent, and nothing grows.
#include "sluice/results.hpp"
#include "tests/fuzz/input.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace sluice::fuzz {
namespace {

constexpr std::size_t kMostRead = std::size_t{64} << 20;

Detections some_detections(Input& in) {
  Detections d;
  d.frame.camera = "front";
  d.frame.reference = {in.word(), in.word(), 1, 0};
  d.model = "lbp";
  for (std::uint32_t left = in.below(4); left > 0; --left) {
    Detection one;
    one.box.x = static_cast<float>(in.byte());
    one.label.assign(in.below(300), 'x');
    one.landmarks.resize(in.below(600));
    d.detections.push_back(std::move(one));
  }
  return d;
}

Identities some_identities(Input& in) {
  Identities i;
  for (std::uint32_t left = in.below(4); left > 0; --left) {
    Identity one;
    one.name.assign(in.below(300), 'y');
    one.confidence = static_cast<float>(in.byte());
    i.identities.push_back(std::move(one));
  }
  return i;
}

template <class T>
void change(Result<std::vector<std::byte>> sent, Input& in, std::vector<std::byte>& bytes,
            Result<T> (*decode)(std::span<const std::byte>), const T& original) {
  if (!sent) {
    require(sent.error().code == Errc::invalid_argument, "what cannot be sent says so");
    return;
  }
  const auto same = decode(*sent);
  require(same && *same == original, "what is sent arrives");
  bytes = std::move(*sent);
  for (std::uint32_t left = in.below(8); left > 0; --left) {
    const std::uint64_t word = in.hostile(4);
    const std::size_t at = in.below(65'536) % bytes.size();
    std::memcpy(&bytes[at], &word, std::min<std::size_t>(sizeof(std::uint32_t), bytes.size() - at));
  }
}

std::size_t size_of(const Detections& d) {
  std::size_t size = 0;
  for (const Detection& one : d.detections) {
    size += sizeof one + one.label.size() + one.landmarks.size() * sizeof(Point);
  }
  return size;
}
std::size_t size_of(const Identities& i) {
  std::size_t size = 0;
  for (const Identity& one : i.identities) size += sizeof one + one.name.size();
  return size;
}

template <class T>
void check(const Result<T>& read) {
  if (!read) {
    require(read.error().code == Errc::untrusted, "what is refused is not trusted");
    require(!read.error().message.empty(), "a refusal has a reason");
    return;
  }
  require(size_of(*read) <= kMostRead, "what is read does not grow beyond measure");
  const auto again = encode(*read);
  // Shared parts are written out one by one, which may be too much for one message.
  require(again || again.error().message.find("at most 1048576") != std::string::npos,
          "what is read could have been sent");
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  using namespace sluice::fuzz;
  Input in{data, size};
  std::vector<std::byte> bytes;
  switch (in.byte() % 3) {
    case 0: {
      const Detections d = some_detections(in);
      change(encode(d), in, bytes, decode_detections, d);
      break;
    }
    case 1: {
      const Identities i = some_identities(in);
      change(encode(i), in, bytes, decode_identities, i);
      break;
    }
    default:
      bytes.resize(in.left());
      in.copy(bytes.data(), bytes.size());
  }
  check(decode_detections(bytes));
  check(decode_identities(bytes));
  return 0;
}
