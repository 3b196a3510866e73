// Pictures as frames, in every format.
#pragma once

#include "sluice/frame.hpp"

#include <cstdint>
#include <cstring>
#include <new>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string_view>
#include <vector>

namespace sluice::test {

inline const std::vector<PixelFormat> kAllFormats{
    PixelFormat::grey, PixelFormat::nv12, PixelFormat::i420, PixelFormat::yuyv,
    PixelFormat::bgr,  PixelFormat::rgb,  PixelFormat::mjpeg};

/// Writes a BGR picture of even sides into the loan, as a camera would. `padding`: bytes between
/// the rows.
inline FrameHeader* put_frame(Loan& loan, PixelFormat format, const cv::Mat& bgr,
                              std::uint64_t number, std::string_view camera) {
  const auto width = static_cast<std::uint32_t>(bgr.cols);
  const auto height = static_cast<std::uint32_t>(bgr.rows);
  FrameHeader* header = nullptr;
  if (format == PixelFormat::mjpeg) {
    std::vector<std::uint8_t> jpeg;
    cv::imencode(".jpg", bgr, jpeg);
    if (!loan.resize(sizeof(FrameHeader) + jpeg.size())) return nullptr;
    header = new (loan.data()) FrameHeader{};
    header->format = format;
    header->width = width;
    header->height = height;
    header->plane_count = 1;
    header->planes[0] = {sizeof(FrameHeader), 0, 0, jpeg.size()};
    std::memcpy(loan.data() + sizeof(FrameHeader), jpeg.data(), jpeg.size());
  } else {
    header = lay_out_frame(loan, format, width, height);
    if (header == nullptr) return nullptr;
    const auto plane = [&](std::uint32_t i, int columns, int type) {
      return cv::Mat(static_cast<int>(header->planes[i].rows), columns, type,
                     loan.data() + header->planes[i].offset, header->planes[i].stride);
    };
    cv::Mat yuv;
    cv::cvtColor(bgr, yuv, cv::COLOR_BGR2YUV_I420);
    const cv::Mat y = yuv.rowRange(0, bgr.rows);
    const cv::Mat u(bgr.rows / 2, bgr.cols / 2, CV_8UC1, yuv.ptr(bgr.rows));
    const cv::Mat v(bgr.rows / 2, bgr.cols / 2, CV_8UC1, u.data + u.total());
    switch (format) {
      case PixelFormat::grey:
        cv::cvtColor(bgr, plane(0, bgr.cols, CV_8UC1), cv::COLOR_BGR2GRAY);
        break;
      case PixelFormat::bgr:
        bgr.copyTo(plane(0, bgr.cols, CV_8UC3));
        break;
      case PixelFormat::rgb:
        cv::cvtColor(bgr, plane(0, bgr.cols, CV_8UC3), cv::COLOR_BGR2RGB);
        break;
      case PixelFormat::nv12:
        y.copyTo(plane(0, bgr.cols, CV_8UC1));
        cv::merge(std::vector<cv::Mat>{u, v}, plane(1, bgr.cols / 2, CV_8UC2));
        break;
      case PixelFormat::i420:
        y.copyTo(plane(0, bgr.cols, CV_8UC1));
        u.copyTo(plane(1, bgr.cols / 2, CV_8UC1));
        v.copyTo(plane(2, bgr.cols / 2, CV_8UC1));
        break;
      case PixelFormat::yuyv: {
        cv::Mat out = plane(0, bgr.cols, CV_8UC2);
        for (int i = 0; i < bgr.rows; ++i) {
          for (int j = 0; j < bgr.cols; ++j) {
            const cv::Mat& chroma = j % 2 == 0 ? u : v;
            out.at<cv::Vec2b>(i, j) = {y.at<std::uint8_t>(i, j),
                                       chroma.at<std::uint8_t>(i / 2, j / 2)};
          }
        }
        break;
      }
      case PixelFormat::mjpeg:
        break;
    }
  }
  header->number = number;
  std::memcpy(header->camera.data(), camera.data(),
              std::min(camera.size(), header->camera.size() - 1));
  return header;
}

/// Bytes that are enough for the picture in any format.
inline std::uint64_t enough_for(const cv::Mat& bgr) { return 4'096 + bgr.total() * 3; }

}  // namespace sluice::test
