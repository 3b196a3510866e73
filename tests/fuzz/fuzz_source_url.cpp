// The URL of a camera or file: arbitrary text either is refused with a reason, or names something
// that can be opened; and a camera's password stays out of what is shown.
#include "pipeline/gstreamer/source_url.hpp"
#include "tests/fuzz/input.hpp"

#include <string>
#include <string_view>

namespace sluice::fuzz {
namespace {

using gst::SourceKind;
using gst::SourceUrl;

bool within(double value, double least, double most) { return value >= least && value <= most; }

void check(const SourceUrl& url, const std::string& text) {
  const bool is_path = url.kind == SourceKind::v4l2 || url.kind == SourceKind::file ||
                       url.kind == SourceKind::images;
  require(!is_path || url.location.rfind('/', 0) == 0, "a path is absolute");
  require(url.location.find('\0') == std::string::npos, "what is opened ends where it ends");
  require(url.kind != SourceKind::rtsp || url.location == text, "a camera's URL is its own");
  require(within(url.motion.seconds, 0.1, 3'600) && within(url.motion.scale, 0.05, 16) &&
              within(url.motion.zoom, 1, 8),
          "the window can be moved");
  require(url.io == "auto" || url.io == "mmap" || url.io == "userptr" || url.io == "dmabuf",
          "there is such a way to read");
}

// The same text as the password of a camera's URL, and of one whose scheme was misspelt.
void check_password(const std::string& text) {
  const std::string password = "se" + text.substr(0, 16) + "cret";
  if (password.find_first_of(std::string_view("/@:\0", 4)) != std::string::npos) return;
  const auto url = gst::parse_source_url("rtsp://me:" + password + "@camera/1");
  require(bool(url), "a password is the camera's business");
  require(url->text == "rtsp://me:***@camera/1", "a password is not shown");
  const auto misspelt = gst::parse_source_url("rstp://me:" + password + "@camera/1");
  require(!misspelt && misspelt.error().message.find(password) == std::string::npos,
          "a password is not shown in an error");
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  using namespace sluice::fuzz;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto url = gst::parse_source_url(text)) {
    check(*url, text);
  } else {
    require(!url.error().message.empty(), "a refusal has a reason");
  }
  check_password(text);
  return 0;
}
