// Writes down the shared layout as this program sees it, so that programs of different machines,
// and of this version and the ones before, can be compared: where each word lies (layout.txt), and
// the bytes of a small stream with its readers, of envelopes, results and messages of the broker
// protocol (bytes.txt). Nothing in them is left to chance.
//
//   abi_writer <folder>
#include "tests/abi/listing.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace {

template <typename... Lists>
bool write(const std::string& path, Lists... lists) {
  std::ofstream out(path);
  (lists(out), ...);
  out.close();
  if (!out) std::perror(path.c_str());
  return !out.fail();
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::fputs("usage: abi_writer <folder>\n", stderr);
    return 2;
  }
  ::setenv("SLUICE_PAGE_BYTES", "16384", 1);  // sizes of segments follow from it
  const std::string folder = words[1];
  const bool layout = write(folder + "/layout.txt", sluice::abi::list_layout);
  const bool bytes =
      write(folder + "/bytes.txt", sluice::abi::list_streams, sluice::abi::list_messages);
  return layout && bytes ? 0 : 1;
}
