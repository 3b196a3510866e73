// scheme://location?key=value&key=value
//
// Paths may hold %XX, as in every URL; a '?' in a file's name is written %3F. An rtsp URL is the
// camera's own language: it is passed on as it is, query included. Keys that nobody knows are an
// error, so that a slip of the pen does not pass for a setting.
#include "pipeline/gstreamer/source_url.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace sluice::gst {
namespace {

constexpr std::array<std::pair<std::string_view, SourceKind>, 7> kSchemes{{
    {"v4l2", SourceKind::v4l2},
    {"libcamera", SourceKind::libcamera},
    {"rtsp", SourceKind::rtsp},
    {"rtsps", SourceKind::rtsp},
    {"file", SourceKind::file},
    {"images", SourceKind::images},
    {"test", SourceKind::test},
}};

// rtsp://user:secret@host/…: the secret is nobody's business in a log.
std::string without_password(std::string_view url) {
  const std::size_t begin = url.find("://");
  if (begin == std::string_view::npos) return std::string(url);
  const std::size_t end = std::min(url.find('/', begin + 3), url.size());
  const std::size_t at = url.rfind('@', end);
  const std::size_t colon = url.find(':', begin + 3);
  if (at == std::string_view::npos || at < begin || colon == std::string_view::npos || colon > at) {
    return std::string(url);
  }
  return std::string(url.substr(0, colon)) + ":***" + std::string(url.substr(at));
}

Error wrong(std::string_view url, const std::string& why) {
  return Error{Errc::invalid_argument, 0, "the source '" + without_password(url) + "': " + why};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Nothing for a '%' without two digits, and for NUL, which ends paths.
std::optional<std::string> unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Why the setting is not one, or nothing.
std::string set(SourceUrl& url, std::string_view key, std::string_view value) {
  const auto in_range = [&](double& target, double least, double most) -> std::string {
    const auto parsed = number(value);
    // Written so that "nan" fails too.
    if (parsed && *parsed >= least && *parsed <= most) {
      target = *parsed;
      return {};
    }
    const auto shown = [](double v) {
      return std::to_string(static_cast<int>(v * 100) / 100.0).substr(0, 5);
    };
    return std::string(key) + " is '" + std::string(value) + "'; give a number from " +
           shown(least) + " to " + shown(most);
  };
  if (url.kind == SourceKind::images) {
    if (key == "motion") {
      if (value != "pan" && value != "none")
        return "motion is '" + std::string(value) + "'; give pan or none";
      url.motion.pan = value == "pan";
      return {};
    }
    if (key == "seconds") return in_range(url.motion.seconds, 0.1, 3600);
    if (key == "scale") return in_range(url.motion.scale, 0.05, 16);
    if (key == "zoom") return in_range(url.motion.zoom, 1, 8);
    return "it has no setting '" + std::string(key) +
           "'; there are motion, seconds, scale and zoom";
  }
  if (url.kind == SourceKind::v4l2) {
    if (key != "io") return "it has no setting '" + std::string(key) + "'; there is io";
    if (value != "auto" && value != "mmap" && value != "userptr" && value != "dmabuf") {
      return "io is '" + std::string(value) + "'; give auto, mmap, userptr or dmabuf";
    }
    url.io = value;
    return {};
  }
  return "sources of this kind have no settings, but it has '" + std::string(key) +
         "' (a '?' in a file's name is written %3F)";
}

}  // namespace

Result<SourceUrl> parse_source_url(std::string_view text) {
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return wrong(text.substr(0, zero), "a zero byte follows; remove that");
  }
  const std::size_t colon = text.find("://");
  const std::string_view scheme = text.substr(0, std::min(colon, text.size()));
  const auto* known = std::find_if(kSchemes.begin(), kSchemes.end(),
                                   [&](const auto& entry) { return entry.first == scheme; });
  if (colon == std::string_view::npos || known == kSchemes.end()) {
    return wrong(
        text,
        "it begins with none of v4l2://, libcamera://, rtsp://, rtsps://, file://, images:// "
        "and test://; a camera is v4l2:///dev/video0, a film file:///path");
  }
  SourceUrl url;
  url.kind = known->second;
  url.text = without_password(text);
  if (url.kind == SourceKind::rtsp) {
    if (text.size() == colon + 3 || text[colon + 3] == '/') {
      return wrong(text, "it names no host; give rtsp://host:port/path");
    }
    url.location = text;
    return url;
  }

  const std::string_view rest = text.substr(colon + 3);
  const std::size_t question = std::min(rest.find('?'), rest.size());
  auto location = unescape(rest.substr(0, question));
  if (!location)
    return wrong(text, "a '%' is not followed by two hexadecimal digits; write it %25");
  url.location = std::move(*location);

  std::string_view query = rest.substr(std::min(question + 1, rest.size()));
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      return wrong(text, std::string("'").append(pair) + "' is not of the form key=value");
    }
    if (auto why = set(url, pair.substr(0, equals), pair.substr(equals + 1)); !why.empty()) {
      return wrong(text, why);
    }
  }

  const bool path = url.kind == SourceKind::v4l2 || url.kind == SourceKind::file ||
                    url.kind == SourceKind::images;
  if (path && !url.location.starts_with('/')) {
    return wrong(text, "it names no absolute path; write three slashes, as in " +
                           std::string(scheme) + ":///path");
  }
  return url;
}

}  // namespace sluice::gst
