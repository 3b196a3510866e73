// Everything becomes RGB first, in one pass, and then a file. That is not the shortest way from
// I420 to JPEG, but one way for all formats, and right: JPEG wants full range, cameras give limited
// range, and planes that are handed over without that conversion look washed out.
#include "tools/sluice/picture.hpp"

#include "tools/sluice/text.hpp"

#include <fcntl.h>
#include <turbojpeg.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace sluice::tools {
namespace {

using Bytes = std::vector<std::byte>;

constexpr int kMaxSide = 32'768;

struct HandleEnd {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using Handle = std::unique_ptr<void, HandleEnd>;

Error unsupported(std::string what) { return {Errc::unsupported, 0, std::move(what)}; }

unsigned char byte(double value) {
  return static_cast<unsigned char>(std::clamp(value + 0.5, 0.0, 255.0));
}

struct Yuv {
  unsigned char y, u, v;
};

void put_rgb(const Yuv& in, std::byte* out) {
  const double y = 1.16438 * (in.y - 16);
  const double u = in.u - 128;
  const double v = in.v - 128;
  out[0] = std::byte{byte(y + 1.59603 * v)};
  out[1] = std::byte{byte(y - 0.39176 * u - 0.81297 * v)};
  out[2] = std::byte{byte(y + 2.01723 * u)};
}

// The pixel at x, y. The planes were checked by view_frame.
void put_pixel(const FrameView& frame, std::uint32_t x, std::uint32_t y, std::byte* out) {
  const auto at = [&](std::uint32_t plane, std::uint32_t column, std::uint32_t row) {
    return static_cast<unsigned char>(
        frame.plane(plane)[std::size_t{row} * frame.header.planes[plane].stride + column]);
  };
  switch (frame.header.format) {
    case PixelFormat::grey:
      out[0] = out[1] = out[2] = std::byte{at(0, x, y)};
      return;
    case PixelFormat::i420:
      put_rgb({at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)}, out);
      return;
    case PixelFormat::nv12:
      put_rgb({at(0, x, y), at(1, x / 2 * 2, y / 2), at(1, x / 2 * 2 + 1, y / 2)}, out);
      return;
    case PixelFormat::yuyv: {
      const std::uint32_t pair = x / 2 * 4;
      put_rgb({at(0, 2 * x, y), at(0, pair + 1, y), at(0, pair + 3, y)}, out);
      return;
    }
    case PixelFormat::bgr:
      for (std::uint32_t i = 0; i < 3; ++i) out[i] = std::byte{at(0, 3 * x + 2 - i, y)};
      return;
    case PixelFormat::rgb:
      for (std::uint32_t i = 0; i < 3; ++i) out[i] = std::byte{at(0, 3 * x + i, y)};
      return;
    case PixelFormat::mjpeg:
      return;
  }
}

Result<Bytes> decompressed(const FrameView& frame) {
  const Handle handle(tjInitDecompress());
  if (!handle) return unsupported("libturbojpeg does not start");
  // A copy: the decoder must not read what another process changes meanwhile.
  const Bytes copy(frame.plane(0), frame.plane(0) + frame.header.planes[0].size);
  const auto* jpeg = reinterpret_cast<const unsigned char*>(copy.data());
  const auto size = static_cast<unsigned long>(copy.size());
  int width = 0;
  int height = 0;
  int sampling = 0;
  int space = 0;
  if (tjDecompressHeader3(handle.get(), jpeg, size, &width, &height, &sampling, &space) != 0 ||
      width != static_cast<int>(frame.header.width) ||
      height != static_cast<int>(frame.header.height) || width > kMaxSide || height > kMaxSide) {
    return Error{Errc::untrusted, 0, "the frame's JPEG is broken or of another size than it says"};
  }
  Bytes rgb(std::size_t{frame.header.width} * frame.header.height * 3);
  // A warning (a picture that is cut off) leaves what could be decoded.
  if (tjDecompress2(handle.get(), jpeg, size, reinterpret_cast<unsigned char*>(rgb.data()), width,
                    0, height, TJPF_RGB, 0) != 0 &&
      tjGetErrorCode(handle.get()) == TJERR_FATAL) {
    return Error{Errc::untrusted, 0,
                 std::string("the frame's JPEG is broken: ") + tjGetErrorStr2(handle.get())};
  }
  return rgb;
}

Result<Bytes> rgb_of(const FrameView& frame) {
  const FrameHeader& h = frame.header;
  if (h.modifier != 0) return unsupported("the frame's pixels are tiled (it has a DRM modifier)");
  if (h.format == PixelFormat::mjpeg) return decompressed(frame);
  Bytes rgb(std::size_t{h.width} * h.height * 3);
  for (std::uint32_t y = 0; y < h.height; ++y) {
    for (std::uint32_t x = 0; x < h.width; ++x) {
      put_pixel(frame, x, y, &rgb[(std::size_t{y} * h.width + x) * 3]);
    }
  }
  return rgb;
}

Result<Bytes> jpeg_of(const FrameView& frame, int quality) {
  const auto rgb = rgb_of(frame);
  if (!rgb) return rgb.error();
  const Handle handle(tjInitCompress());
  if (!handle) return unsupported("libturbojpeg does not start");
  unsigned char* jpeg = nullptr;
  unsigned long size = 0;
  const int sampling = frame.header.format == PixelFormat::grey ? TJSAMP_GRAY : TJSAMP_420;
  const int done =
      tjCompress2(handle.get(), reinterpret_cast<const unsigned char*>(rgb->data()),
                  static_cast<int>(frame.header.width), 0, static_cast<int>(frame.header.height),
                  TJPF_RGB, &jpeg, &size, sampling, quality, 0);
  const std::unique_ptr<unsigned char, decltype(&tjFree)> owner(jpeg, tjFree);
  if (done != 0) return unsupported(std::string("JPEG: ") + tjGetErrorStr2(handle.get()));
  const auto* begin = reinterpret_cast<const std::byte*>(jpeg);
  return Bytes(begin, begin + size);
}

// Bytes of a row that are pixels, not padding.
std::size_t row_bytes(const FrameHeader& h, std::uint32_t plane) {
  const std::size_t half = (std::size_t{h.width} + 1) / 2;
  switch (h.format) {
    case PixelFormat::grey:
      return h.width;
    case PixelFormat::i420:
      return plane == 0 ? h.width : half;
    case PixelFormat::nv12:
      return plane == 0 ? h.width : 2 * half;
    case PixelFormat::yuyv:
      return 4 * half;
    case PixelFormat::bgr:
    case PixelFormat::rgb:
      return std::size_t{h.width} * 3;
    case PixelFormat::mjpeg:
      break;
  }
  return 0;
}

Bytes raw_of(const FrameView& frame) {
  Bytes all;
  const FrameHeader& h = frame.header;
  for (std::uint32_t i = 0; i < h.plane_count; ++i) {
    const std::byte* plane = frame.plane(i);
    if (h.planes[i].stride == 0) {
      all.insert(all.end(), plane, plane + h.planes[i].size);
      continue;
    }
    const std::size_t width = std::min<std::size_t>(row_bytes(h, i), h.planes[i].stride);
    for (std::uint32_t row = 0; row < h.planes[i].rows; ++row) {
      const std::byte* begin = plane + std::size_t{row} * h.planes[i].stride;
      all.insert(all.end(), begin, begin + width);
    }
  }
  return all;
}

Error system_error(const std::string& what) {
  const int number = errno;
  return {Errc::system, number, joined({what, ": ", std::strerror(number)})};
}

}  // namespace

Result<PictureKind> picture_kind(const std::string& path) {
  const auto ends = [&](const char* end) { return path.ends_with(end); };
  if (ends(".jpg") || ends(".jpeg") || ends(".JPG") || ends(".JPEG")) return PictureKind::jpeg;
  if (ends(".ppm")) return PictureKind::ppm;
  if (ends(".raw")) return PictureKind::raw;
  return Error{
      Errc::invalid_argument, 0,
      joined({"the picture's name '", clean(path), "' ends with none of .jpg, .ppm, .raw"})};
}

Result<std::vector<std::byte>> encode_picture(const FrameView& frame, PictureKind kind,
                                              int quality) {
  const FrameHeader& h = frame.header;
  if (kind == PictureKind::raw || (kind == PictureKind::jpeg && h.format == PixelFormat::mjpeg)) {
    return raw_of(frame);
  }
  if (kind == PictureKind::jpeg) return jpeg_of(frame, quality);
  const auto rgb = rgb_of(frame);
  if (!rgb) return rgb.error();
  const std::string head =
      joined({"P6\n", std::to_string(h.width), " ", std::to_string(h.height), "\n255\n"});
  const auto* begin = reinterpret_cast<const std::byte*>(head.data());
  Bytes all(begin, begin + head.size());
  all.insert(all.end(), rgb->begin(), rgb->end());
  return all;
}

Result<void> write_file(const std::string& path, std::span<const std::byte> bytes) {
  const std::string beside = joined({path, ".", std::to_string(::getpid()), ".part"});
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return system_error(beside);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const Error error = system_error(beside);
      ::close(fd);
      ::unlink(beside.c_str());
      return error;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  if (::close(fd) != 0 || std::rename(beside.c_str(), path.c_str()) != 0) {
    const Error error = system_error(path);
    ::unlink(beside.c_str());
    return error;
  }
  return {};
}

}  // namespace sluice::tools
