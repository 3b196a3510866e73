// Serves math/add: adds the numbers of a request.
//
//   serve [REQUESTS]    ends after so many
#include <cstdio>
#include <cstdlib>
#include <sluice/responder.hpp>
#include <sstream>
#include <string>

int main(int argc, char** argv) {
  long left = argc > 1 ? std::atol(argv[1]) : -1;

  auto node = sluice::Node::create({.name = "adder"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;

  sluice::Responder* self = nullptr;
  const auto add = [&](sluice::Request& request) {
    std::istringstream numbers{std::string{request.text()}};
    double sum = 0;
    double number = 0;
    while (numbers >> number) sum += number;
    if (!numbers.eof()) {
      request.reply(sluice::Status{sluice::StatusCode::invalid_argument, "these are no numbers"});
    } else {
      std::ostringstream text;
      text << sum;
      request.reply(text.str());
    }
    if (--left == 0) self->drain();  // what is here is answered first
  };
  auto responder = sluice::Responder::create(*node, "math/add", add);
  if (!responder) return std::fprintf(stderr, "%s\n", responder.error().message.c_str()), 1;
  self = responder->get();
  if (auto ran = self->run(); !ran) {
    return std::fprintf(stderr, "%s\n", ran.error().message.c_str()), 1;
  }
  return 0;
}
