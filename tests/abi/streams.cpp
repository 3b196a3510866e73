// A camera's stream and a detector's, with readers of each kind, as they lie in memory in the
// middle of their work: a message that holds a frame, lanes, pools of two sizes, claims,
// assignments of a group, losses, retired entries.
#include "shm/layout.hpp"
#include "sluice/frame.hpp"
#include "tests/abi/fixed_world.hpp"
#include "tests/abi/listing.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sluice::abi {
namespace {

using namespace test;

// What the files are to show has to be there.
void demand(bool there, const char* what) {
  if (there) return;
  std::fprintf(stderr, "abi_writer: no %s\n", what);
  std::exit(1);
}

StreamOptions camera_options() {
  StreamOptions options;
  options.label = "camera/front/frames";
  options.lanes = {{.depth = 4, .history = 2}};
  options.pools = {{.slot_bytes = frame_bytes(PixelFormat::nv12, 16, 8), .slot_count = 12}};
  options.max_held = 8;
  options.type_hash = 0x1122'3344'5566'7788;
  return options;
}

StreamOptions detector_options() {
  StreamOptions options;
  options.label = "detect/front/objects";
  options.lanes = {{.depth = 4}, {.depth = 2}};
  options.pools = {{.slot_bytes = 128, .slot_count = 10}, {.slot_bytes = 64, .slot_count = 8}};
  options.max_slots = 70;  // two words of claims
  options.max_references = 2;
  options.max_held = 12;
  options.on_full = OnFull::fail;
  return options;
}

void publish_frame(shm::Publisher& camera, std::uint64_t number) {
  pass_ns(33'000'000);
  Loan loan = camera.loan(frame_bytes(PixelFormat::nv12, 16, 8));
  FrameHeader* header = lay_out_frame(loan, PixelFormat::nv12, 16, 8);
  demand(header != nullptr, "room for a frame");
  header->number = number;
  header->sensor_ns = time_ns() - 4'000'000;
  header->exposure_us = 8'000;
  header->gain_milli = 1'500;
  std::memcpy(header->camera.data(), "front", 6);
  for (std::uint32_t plane = 0; plane < header->plane_count; ++plane) {
    std::byte* bytes = loan.data() + header->planes[plane].offset;
    std::fill_n(bytes, header->planes[plane].size, static_cast<std::byte>(16 * number + plane));
  }
  loan.headers.correlation = {0x0190'0000'0000'7000 + number, 0x8000'0000'0000'0000 + number};
  loan.headers.origin_ns = header->sensor_ns;
  loan.headers.user_flags = 5;
  demand(camera.publish(std::move(loan)) == Outcome::ok, "frame published");
}

void publish_result(shm::Publisher& detector, Sample frame, std::uint64_t number, Priority lane) {
  pass_ns(7'000'000);
  Loan loan = detector.loan(number % 2 == 0 ? 40 : 100, lane);
  demand(bool{loan}, "loan for a result");
  write_number(loan.data(), loan.size(), number);
  loan.headers.ttl_ms = 250;
  demand(!frame || loan.attach(std::move(frame)) == Outcome::ok, "frame attached");
  demand(detector.publish(std::move(loan)) == Outcome::ok, "result published");
}

template <typename Words>
void list_line(std::ostream& out, const std::string& name, const std::byte* segment,
               std::uint64_t offset) {
  list_bytes(out, name, {segment + offset, sizeof(Words)});
}

void list_control(std::ostream& out, const std::string& name, const shm::Publisher& publisher) {
  using namespace shm;
  const std::byte* control = publisher.control();
  ControlHeader header{};
  std::memcpy(&header, control, sizeof header);
  list_line<ControlHeader>(out, name + ", ControlHeader", control, 0);
  list_line<StateLine>(out, name + ", StateLine", control, kStateOffset);
  list_line<HeadLine>(out, name + ", HeadLine", control, kHeadOffset);
  list_line<PublisherCounters>(out, name + ", PublisherCounters", control,
                               kPublisherCountersOffset);
  list_line<SourceLine>(out, name + ", SourceLine", control, kSourceOffset);
  list_line<Histogram>(out, name + ", intervals", control, kIntervalsOffset);
  list_line<Histogram>(out, name + ", ages", control, kPublishAgesOffset);
  for (std::uint32_t lane = 0; lane < header.lane_count; ++lane) {
    const LaneRecord& record = header.lanes[lane];
    list_bytes(out, name + ", ring of lane " + std::to_string(lane),
               {control + record.ring_offset, record.ring_entries * sizeof(Entry)});
  }
  list_bytes(out, name + ", slot records",
             {control + header.slots_offset, header.slot_limit * sizeof(SlotRecord)});
}

void list_pools(std::ostream& out, const std::string& name, const shm::Publisher& publisher) {
  const shm::StreamDescriptors stream = must(publisher.share());
  for (std::size_t i = 0; i < stream.pools.size(); ++i) {
    const shm::View pool = must(shm::View::open(stream.pools[i].get(), "a pool"));
    list_bytes(out, name + ", pool " + std::to_string(i),
               {pool.data(), static_cast<std::size_t>(pool.size())});
  }
}

void list_reader(std::ostream& out, const std::string& name, const shm::Reader& reader) {
  const auto* page = reinterpret_cast<const std::byte*>(&reader.page());
  list_line<shm::IdentityLine>(out, name + ", IdentityLine", page, 0);
  list_line<shm::SleepLine>(out, name + ", SleepLine", page, offsetof(shm::ReaderPage, sleeping));
  list_line<shm::ReaderCounters>(out, name + ", ReaderCounters", page,
                                 offsetof(shm::ReaderPage, counters));
  list_line<shm::Histogram>(out, name + ", ages", page, offsetof(shm::ReaderPage, age));
  list_line<shm::Histogram>(out, name + ", processing", page,
                            offsetof(shm::ReaderPage, processing));
  list_line<shm::Histogram>(out, name + ", whole way", page, offsetof(shm::ReaderPage, end_to_end));
  list_line<shm::ProgressLine>(out, name + ", ProgressLine", page,
                               offsetof(shm::ReaderPage, progress));
  const std::size_t rest =
      static_cast<std::size_t>(shm::reader_page_bytes(reader.geometry().slot_limit)) -
      offsetof(shm::ReaderPage, cursor);
  list_bytes(out, name + ", cursors and claims", {page + offsetof(shm::ReaderPage, cursor), rest});
}

void list_wake_pages(std::ostream& out, const std::string& name, shm::Arena& arena) {
  const shm::UniqueFd fd = must(arena.share());
  const shm::View view = must(shm::View::open(fd.get(), "an arena", arena.size()));
  const std::uint64_t most =
      arena.used() + 32 * shm::kCacheLine;  // before the first there may be some free lines
  list_bytes(out, name, {view.data(), static_cast<std::size_t>(std::min(most, view.size()))});
}

}  // namespace

void list_streams(std::ostream& out) {
  LocalLink camera(camera_options());
  const auto viewer = camera.attach({.mode = DeliveryMode::next, .max_held = 2});
  const auto latest = camera.attach(
      {.mode = DeliveryMode::latest, .max_held = 2, .type_hash = 0x1122'3344'5566'7788});
  LocalLink detector(detector_options());
  const auto reliable = detector.attach({.mode = DeliveryMode::reliable, .max_held = 3});
  const auto worker = detector.attach({.mode = DeliveryMode::group,
                                       .max_held = 4,
                                       .group = "workers",
                                       .credits = 4,
                                       .durable = true});

  camera.publisher().describe({.expected_interval_ns = 33'333'333,
                               .gaps = 1,
                               .reconnects = 2,
                               .copies = 3,
                               .dropped = 4,
                               .fourcc = 0x3231'564e,
                               .width = 16,
                               .height = 8});
  for (std::uint64_t number = 1; number <= 3; ++number) publish_frame(camera.publisher(), number);
  publish_result(detector.publisher(), viewer->take(), 1, Priority::critical);
  publish_result(detector.publisher(), {}, 2, Priority::high);
  pass_ns(1'000'000);
  Sample first = reliable->take();
  const Sample refers = worker->take();
  const Sample frame = latest->resolve(refers.reference_at(0));
  for (std::uint64_t number = 4; number <= 9; ++number) publish_frame(camera.publisher(), number);
  pass_ns(2'000'000);
  reliable->acknowledge(std::move(first));
  worker->reject(worker->take());
  const Sample newest = latest->take();
  const Sample oldest = viewer->take();
  worker->tell_load(WorkerState::busy, 7);
  demand(bool{refers} && bool{frame} && bool{newest} && bool{oldest}, "claims");

  list_control(out, "camera", camera.publisher());
  list_pools(out, "camera", camera.publisher());
  list_reader(out, "camera's reader, next", *viewer);
  list_reader(out, "camera's reader, latest", *latest);
  list_wake_pages(out, "camera's wake pages", *camera.wake_arena());
  list_control(out, "detector", detector.publisher());
  list_pools(out, "detector", detector.publisher());
  list_reader(out, "detector's reader, reliable", *reliable);
  list_reader(out, "detector's reader, member of a group", *worker);
  list_wake_pages(out, "detector's wake pages", *detector.wake_arena());
}

}  // namespace sluice::abi
