// The file, little-endian:
//
//   8 bytes  "SLUICEFG"
//   u32      version, 1
//   u32      number of faces
//   u32      side of the crops, kCropSide
//   u32      bytes per pixel, 1 (grey) or 3 (BGR); the same for all faces
//   faces:   u32 length of the name, the name, the pixels row by row
//   u64      FNV-1a of all before
//
// A reader checks the sum first, and after it every length nevertheless: the sum tells accidents,
// not lies.
#include "pipeline/opencv/gallery.hpp"

#include "pipeline/opencv/face_crop.hpp"
#include "pipeline/opencv/file.hpp"
#include "sluice/results.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

namespace sluice::opencv {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");
constexpr std::string_view kMagic = "SLUICEFG";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;
constexpr std::size_t kSumBytes = sizeof(std::uint64_t);

std::uint64_t sum_of(std::span<const std::uint8_t> bytes) {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const std::uint8_t byte : bytes) sum = (sum ^ byte) * 0x100000001b3;
  return sum;
}

class Writer {
 public:
  template <class T>
  void number(T value) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
    out_.insert(out_.end(), bytes, bytes + sizeof value);
  }
  void text(std::string_view text) { out_.insert(out_.end(), text.begin(), text.end()); }
  void row(const std::uint8_t* from, std::size_t count) {
    out_.insert(out_.end(), from, from + count);
  }
  std::vector<std::uint8_t> finish() {
    number(sum_of(out_));
    return std::move(out_);
  }

 private:
  std::vector<std::uint8_t> out_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : left_(bytes) {}
  /// The next bytes; none when there are not so many.
  std::span<const std::uint8_t> bytes(std::size_t count) {
    if (count > left_.size()) {
      failed_ = true;
      return {};
    }
    const auto taken = left_.first(count);
    left_ = left_.subspan(count);
    return taken;
  }
  std::uint32_t number() {
    std::uint32_t value = 0;
    const auto taken = bytes(sizeof value);
    if (!taken.empty()) std::memcpy(&value, taken.data(), sizeof value);
    return value;
  }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool at_end() const { return left_.empty(); }

 private:
  std::span<const std::uint8_t> left_;
  bool failed_ = false;
};

}  // namespace

std::string fault_of_name(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > 255) return "is longer than 255 bytes";
  if (name == kUnknownName) return "is what strangers are called; choose another one";
  // Well-formed UTF-8, as far as lengths go.
  std::size_t follow = 0;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return "has a control character in it";
    const bool continues = (byte & 0xc0) == 0x80;
    if (continues != (follow > 0)) return "is not UTF-8";
    if (continues) {
      --follow;
    } else if (byte >= 0x80) {
      follow = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc2 ? 1 : 9;
      if (follow == 9 || byte > 0xf4) return "is not UTF-8";
    }
  }
  return follow > 0 ? "is not UTF-8" : "";
}

std::vector<std::string> Gallery::names() const {
  std::vector<std::string> names;
  for (const EnrolledFace& face : faces) {
    if (std::find(names.begin(), names.end(), face.name) == names.end()) names.push_back(face.name);
  }
  return names;
}

Result<void> Gallery::save(const std::string& path) const {
  const int channels = faces.empty() ? 1 : faces.front().crop.channels();
  Writer out;
  out.text(kMagic);
  out.number(kVersion);
  out.number(static_cast<std::uint32_t>(faces.size()));
  out.number(static_cast<std::uint32_t>(kCropSide));
  out.number(static_cast<std::uint32_t>(channels));
  for (const EnrolledFace& face : faces) {
    CV_Assert(face.crop.depth() == CV_8U && face.crop.channels() == channels &&
              face.crop.rows == kCropSide && face.crop.cols == kCropSide);
    out.number(static_cast<std::uint32_t>(face.name.size()));
    out.text(face.name);
    const std::size_t row_bytes = kCropSide * static_cast<std::size_t>(channels);
    for (int i = 0; i < kCropSide; ++i) out.row(face.crop.ptr(i), row_bytes);
  }
  return write_file(path, out.finish());
}

Result<Gallery> Gallery::load(const std::string& path) {
  auto read = read_file(path, kMaxFileBytes);
  if (!read) return std::move(read).error();
  const std::span<const std::uint8_t> all = *read;
  const auto refuse = [&](const std::string& why) {
    return Error{Errc::untrusted, 0,
                 transport::quoted(path) + " " + why +
                     "; enrol again with --people and write it with --save"};
  };
  if (all.size() < kMagic.size() || std::memcmp(all.data(), kMagic.data(), kMagic.size()) != 0) {
    return refuse("is not a file of enrolled faces");
  }
  std::uint64_t sum = 0;
  if (all.size() < kMagic.size() + kSumBytes) return refuse("is cut off");
  const auto body = all.first(all.size() - kSumBytes);
  std::memcpy(&sum, all.data() + body.size(), sizeof sum);
  if (sum != sum_of(body)) return refuse("is cut off or corrupt");

  Reader in(body.subspan(kMagic.size()));
  const std::uint32_t version = in.number();
  const std::uint32_t count = in.number();
  const std::uint32_t side = in.number();
  const std::uint32_t channels = in.number();
  if (version != kVersion) {
    return refuse("has version " + std::to_string(version) + ", not " + std::to_string(kVersion));
  }
  if (side != kCropSide || (channels != 1 && channels != 3))
    return refuse("has faces of another size");
  const std::size_t pixels = std::size_t{side} * side * channels;
  Gallery gallery;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto name = in.bytes(in.number());
    const auto crop = in.bytes(pixels);
    if (in.failed()) return refuse("is cut off");
    EnrolledFace& face = gallery.faces.emplace_back();
    face.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    if (!fault_of_name(face.name).empty()) return refuse("has a name that cannot be one");
    face.crop.create(kCropSide, kCropSide, channels == 1 ? CV_8UC1 : CV_8UC3);
    std::memcpy(face.crop.data, crop.data(), pixels);
  }
  if (!in.at_end()) return refuse("has more in it than it says");
  if (gallery.faces.empty()) return refuse("has nobody in it");
  return gallery;
}

}  // namespace sluice::opencv
