// Owners for GLib's and GStreamer's references.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <memory>

namespace sluice::gst {

template <auto release>
struct Release {
  template <class T>
  void operator()(T* object) const noexcept {
    release(object);
  }
};

inline void unref_buffer(GstBuffer* buffer) noexcept { gst_buffer_unref(buffer); }
inline void unref_caps(GstCaps* caps) noexcept { gst_caps_unref(caps); }
inline void unref_message(GstMessage* message) noexcept { gst_message_unref(message); }
inline void unref_sample(GstSample* sample) noexcept { gst_sample_unref(sample); }

using BufferRef = std::unique_ptr<GstBuffer, Release<unref_buffer>>;
using CapsRef = std::unique_ptr<GstCaps, Release<unref_caps>>;
using MessageRef = std::unique_ptr<GstMessage, Release<unref_message>>;
using SampleRef = std::unique_ptr<GstSample, Release<unref_sample>>;
using ErrorRef = std::unique_ptr<GError, Release<g_error_free>>;
using Text = std::unique_ptr<gchar, Release<g_free>>;

/// Any GObject: elements, pads, pools, buses.
template <class T>
using Ref = std::unique_ptr<T, Release<gst_object_unref>>;

}  // namespace sluice::gst
