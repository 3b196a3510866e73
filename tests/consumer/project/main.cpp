// Uses a public header and a symbol that lives in the library, and nothing else of Sluice.
#include <cstdio>
#include <string_view>

#include "sluice/result.hpp"

int main() {
  const std::string_view name = sluice::to_string(sluice::Outcome::timeout);
  std::printf("sluice says: %s\n", name.data());
  return name == "timeout" ? 0 : 1;
}
