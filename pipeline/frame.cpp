// Laying frames out and checking frames that came from another process.
#include "sluice/frame.hpp"

#include <cstring>
#include <new>
#include <string>

namespace sluice {
namespace {

constexpr std::uint32_t kMaxSide = 32'768;
constexpr std::uint64_t kPlaneAlignment = 64;

constexpr std::uint64_t align(std::uint64_t bytes) {
  return (bytes + kPlaneAlignment - 1) & ~(kPlaneAlignment - 1);
}

struct Shape {
  std::uint32_t stride = 0;
  std::uint32_t rows = 0;
};

// Smallest stride and number of rows of each plane; no planes: not a format of fixed size.
struct Shapes {
  std::uint32_t count = 0;
  std::array<Shape, 4> planes{};
};

Shapes shapes_of(PixelFormat format, std::uint32_t width, std::uint32_t height) {
  if (width == 0 || height == 0 || width > kMaxSide || height > kMaxSide) return {};
  const bool even = width % 2 == 0 && height % 2 == 0;
  switch (format) {
    case PixelFormat::grey: return {1, {{{width, height}}}};
    case PixelFormat::bgr:
    case PixelFormat::rgb: return {1, {{{width * 3, height}}}};
    case PixelFormat::yuyv:
      return width % 2 == 0 ? Shapes{1, {{{width * 2, height}}}} : Shapes{};
    case PixelFormat::nv12:
      return even ? Shapes{2, {{{width, height}, {width, height / 2}}}} : Shapes{};
    case PixelFormat::i420:
      return even ? Shapes{3, {{{width, height},
                                {width / 2, height / 2},
                                {width / 2, height / 2}}}}
                  : Shapes{};
    case PixelFormat::mjpeg: return {};
  }
  return {};
}

Error refuse(const std::string& why) {
  return Error{Errc::untrusted, 0, "a frame was not accepted: " + why};
}

}  // namespace

std::uint64_t frame_bytes(PixelFormat format, std::uint32_t width, std::uint32_t height) noexcept {
  const Shapes shapes = shapes_of(format, width, height);
  if (shapes.count == 0) return 0;
  std::uint64_t bytes = align(sizeof(FrameHeader));
  for (std::uint32_t i = 0; i < shapes.count; ++i) {
    bytes = align(bytes) + std::uint64_t{shapes.planes[i].stride} * shapes.planes[i].rows;
  }
  return bytes;
}

FrameHeader* lay_out_frame(Loan& loan, PixelFormat format, std::uint32_t width,
                           std::uint32_t height) noexcept {
  const Shapes shapes = shapes_of(format, width, height);
  if (!loan || shapes.count == 0 || !loan.resize(frame_bytes(format, width, height))) {
    return nullptr;
  }
  auto* header = new (loan.data()) FrameHeader{};
  header->format = format;
  header->width = width;
  header->height = height;
  header->plane_count = shapes.count;
  std::uint64_t offset = align(sizeof(FrameHeader));
  for (std::uint32_t i = 0; i < shapes.count; ++i) {
    const Shape& shape = shapes.planes[i];
    offset = align(offset);
    const std::uint64_t size = std::uint64_t{shape.stride} * shape.rows;
    header->planes[i] = {offset, shape.stride, shape.rows, size};
    offset += size;
  }
  return header;
}

Result<FrameView> view_frame(const Sample& sample) {
  if (!sample || sample.size() < sizeof(FrameHeader)) return refuse("it is too short for a header");
  FrameView view{{}, sample.data()};
  std::memcpy(&view.header, sample.data(), sizeof view.header);
  const FrameHeader& h = view.header;
  if (h.magic != FrameHeader::kMagic || h.header_bytes != sizeof(FrameHeader)) {
    return refuse("it does not start with a frame header");
  }
  if (h.plane_count == 0 || h.plane_count > h.planes.size()) {
    return refuse("it has " + std::to_string(h.plane_count) + " planes");
  }
  const Shapes shapes = shapes_of(h.format, h.width, h.height);
  if (h.format != PixelFormat::mjpeg && shapes.count != h.plane_count) {
    return refuse("its format and its size of " + std::to_string(h.width) + " x " +
                  std::to_string(h.height) + " do not go together");
  }
  for (std::uint32_t i = 0; i < h.plane_count; ++i) {
    const PlaneLayout& plane = h.planes[i];
    if (plane.offset < sizeof(FrameHeader) || plane.offset > sample.size() ||
        plane.size > sample.size() - plane.offset) {
      return refuse("plane " + std::to_string(i) + " lies outside");
    }
    if (h.format == PixelFormat::mjpeg) continue;
    const Shape& shape = shapes.planes[i];
    // The last row may end with its pixels instead of its stride.
    if (plane.stride < shape.stride || plane.rows != shape.rows ||
        std::uint64_t{plane.stride} * (plane.rows - 1) + shape.stride > plane.size) {
      return refuse("plane " + std::to_string(i) + " is too small for its rows");
    }
  }
  // UTF-8 for people; whatever came, it ends.
  view.header.camera.back() = '\0';
  return view;
}

}  // namespace sluice
