#include "transport/introduction.hpp"

#include <boost/locale/utf.hpp>

#include <algorithm>

namespace sluice::transport {
namespace {

bool is_text(const std::string& text) {
  using Utf8 = boost::locale::utf::utf_traits<char>;
  for (auto at = text.begin(); at != text.end();) {
    const boost::locale::utf::code_point c = Utf8::decode(at, text.end());
    if (c == 0 || c == boost::locale::utf::illegal || c == boost::locale::utf::incomplete) {
      return false;
    }
  }
  return true;
}

bool is_capability(const std::string& word) {
  return !word.empty() && word.size() <= kMaxCapabilityBytes && is_text(word);
}

Error invalid(const char* sentence) { return Error{Errc::invalid_argument, 0, sentence}; }

}  // namespace

Result<void> check_introduction(const protocol::HelloT& hello) {
  if (hello.version.size() > kMaxVersionBytes || !is_text(hello.version)) {
    return invalid("a node's version is UTF-8 of at most 63 bytes");
  }
  if (hello.capabilities.size() > kMaxCapabilities ||
      !std::all_of(hello.capabilities.begin(), hello.capabilities.end(), is_capability)) {
    return invalid("a node has at most 32 capabilities, each of them UTF-8 of 1 to 63 bytes");
  }
  if (hello.last_words.size() > kMaxLastWordsBytes || !is_text(hello.last_words)) {
    return invalid("a node's last words are UTF-8 of at most 1,024 bytes");
  }
  return {};
}

}  // namespace sluice::transport
