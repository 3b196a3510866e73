// Neural networks of a few nodes as ONNX files, written by hand: enough to send frames through the
// code around a network where no real one may be had. The format is protobuf (onnx.proto3).
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

class TinyOnnx {
 public:
  /// The output is the mean of each of the three channels of a picture of any size.
  TinyOnnx& mean_of_channels(const std::string& out) {
    graph_ +=
        field(1, field(1, "x") + field(2, out) + field(3, out) + field(4, "GlobalAveragePool"));
    return *this;
  }
  /// The output has these values, whatever comes in: a 1 x 1 convolution that adds them to nothing.
  TinyOnnx& constant(const std::string& in, const std::string& out,
                     const std::vector<float>& values) {
    const auto count = static_cast<std::int64_t>(values.size());
    graph_ += field(
        1, field(1, in) + field(1, out + "_w") + field(1, out + "_b") + field(2, out) +
               field(3, out) + field(4, "Conv") +
               field(5, field(1, "kernel_shape") + number(8, 1) + number(8, 1) + number(20, 7)));
    graph_ +=
        field(5, tensor(out + "_w", {count, 3, 1, 1}, std::vector<float>(values.size() * 3, 0.0F)));
    graph_ += field(5, tensor(out + "_b", {count}, values));
    return *this;
  }
  TinyOnnx& output(const std::string& name, std::int64_t channels) {
    graph_ += field(12, value(name, {1, channels, 1, 1}));
    return *this;
  }
  /// For pictures of this size.
  void save(const std::string& path, std::int64_t width, std::int64_t height) const {
    const std::string model =
        number(1, 7) + field(8, field(1, "") + number(2, 11)) +
        field(7, graph_ + field(2, "tiny") + field(11, value("x", {1, 3, height, width})));
    std::ofstream(path, std::ios::binary) << model;
  }

 private:
  static std::string varint(std::uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    return out + static_cast<char>(value);
  }
  static std::string number(unsigned field, std::int64_t value) {
    return varint(field << 3) + varint(static_cast<std::uint64_t>(value));
  }
  static std::string field(unsigned field, std::string_view bytes) {
    return varint(field << 3 | 2) + varint(bytes.size()) + std::string(bytes);
  }
  static std::string tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                            const std::vector<float>& values) {
    std::string out;
    for (const std::int64_t side : shape) out += number(1, side);
    return out + number(2, 1) + field(8, name) +
           field(9, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }
  static std::string value(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::string sides;
    for (const std::int64_t side : shape) sides += field(1, number(1, side));
    return field(1, name) + field(2, field(1, number(1, 1) + field(2, sides)));
  }
  std::string graph_;
};

}  // namespace sluice::test
