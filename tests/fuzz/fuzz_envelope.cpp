// A slot as another process may have written it: read_envelope and find_extension read nothing
// outside of it, and what they accept is consistent.
#include "sluice/codec.hpp"
#include "sluice/envelope.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  const auto slot = std::as_bytes(std::span{data, size});
  const auto envelope = read_envelope(slot);
  (void)is_json({reinterpret_cast<const char*>(data), size});
  if (!envelope) return 0;
  if (envelope->header_bytes > size || envelope->header_bytes % 32 != 0) std::abort();
  for (std::uint16_t id = 0; id < 8; ++id) {
    const auto found = find_extension(slot, *envelope, ExtensionId{id});
    if (found.empty()) continue;
    if (found.data() < slot.data() ||
        found.data() + found.size() > slot.data() + envelope->header_bytes) {
      std::abort();
    }
  }
  return 0;
}
