// Messages in the formats that processes exchange: the envelope, the broker protocol, results.
#include "sluice/envelope.hpp"
#include "sluice/results.hpp"
#include "tests/abi/listing.hpp"
#include "tests/support/must.hpp"
#include "transport/bus/envelope_writer.hpp"
#include "transport/wire.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sluice::abi {
namespace {

using namespace protocol;

// What is written can be read.
void demand(bool valid, const char* what) {
  if (valid) return;
  std::fprintf(stderr, "abi_writer: %s is not valid\n", what);
  std::exit(1);
}

void list_envelope(std::ostream& out) {
  bus::Extensions extensions;
  extensions.add(ExtensionId::tracestate, "vendor=1");
  extensions.add(ExtensionId::reply_to, "reply/4242");
  Envelope envelope;
  envelope.kind = MessageKind::request;
  envelope.codec = Codec::json;
  envelope.flags = kFlagIdempotent | kFlagSensitive;
  envelope.hops = 3;
  envelope.attempt = 2;
  envelope.trace_flags = 1;
  envelope.header_bytes = static_cast<std::uint16_t>(extensions.header_bytes());
  envelope.status = 404;
  envelope.id = {0x0190'1122'3344'7566, 0x8788'99aa'bbcc'ddee};
  for (std::size_t i = 0; i < 16; ++i) envelope.trace_id[i] = static_cast<std::uint8_t>(0x10 + i);
  for (std::size_t i = 0; i < 8; ++i) envelope.span_id[i] = static_cast<std::uint8_t>(0x40 + i);
  envelope.source = 0x1111'2222'3333'4444;
  envelope.destination = 0x5555'6666'7777'8888;
  envelope.expires_ns = 9'000'000'000;
  envelope.call = 77;
  envelope.cancelled = 1;
  std::vector<std::byte> slot(envelope.header_bytes);
  std::memcpy(slot.data(), &envelope, sizeof envelope);
  extensions.write(slot);
  demand(read_envelope(slot).has_value(), "an envelope");
  list_bytes(out, "envelope of a request", slot);
}

void list_results(std::ostream& out) {
  FrameOf frame{{11, 12, 13, 1}, {14, 15}, 16, "front", 17, 1920, 1080};
  Detections detections{frame, "lbp", {{{1.5F, 2.25F, 3, 4}, 0.75F, "face", {{5, 6}, {7, 8.5F}}}}};
  Identities identities{frame, "lbph", {{{1, 2, 3, 4}, "Marie Curie", 98.5F, 0.25F}}};
  list_bytes(out, "results, detections", test::must(encode(detections)));
  list_bytes(out, "results, identities", test::must(encode(identities)));
}

void list(std::ostream& out, const char* name, transport::Message message) {
  const auto bytes = transport::encode(message);
  demand(bool{transport::decode(bytes)}, name);
  list_bytes(out, std::string("protocol, ") + name, bytes);
}

template <typename Body>
std::unique_ptr<Body> boxed(Body body) {
  return std::make_unique<Body>(std::move(body));
}

OfferT offer() {
  OfferT offer;
  offer.group = false;
  offer.history = 2;
  offer.depth = 64;
  offer.type_hash = 0x1122;
  offer.type_name = "sluice.Frame";
  offer.slot_bytes = 3'110'400;
  offer.planned_bytes = 99;
  offer.sensitive = true;
  offer.durable = true;
  return offer;
}

WantT want() {
  WantT want;
  want.mode = Mode::group;
  want.max_held = 4;
  want.history = 1;
  want.type_hash = 0x1122;
  want.type_name = "sluice.Frame";
  want.group = "workers";
  want.credits = 8;
  want.durable = true;
  want.recorder = true;
  return want;
}

void list_opening(std::ostream& out) {
  HelloT hello;
  hello.protocol = transport::kProtocolVersion;
  hello.layout = 3;
  hello.node_id = 0xabcd'ef01'2345'6789;
  hello.node = "front-camera";
  hello.library = "0.1.0";
  hello.version = "2.3";
  hello.capabilities = {"capture", "v4l2"};
  hello.last_words = "gone";
  list(out, "Hello", transport::make_message(hello, 1));
  WelcomeT welcome;
  welcome.protocol = transport::kProtocolVersion;
  welcome.broker_id = 0xb0;
  welcome.heartbeat_ms = 2'500;
  welcome.library = "0.1.0";
  list(out, "Welcome", transport::make_message(welcome, 1));
  list(out, "Ping", transport::make_message(PingT{}));
  list(out, "Goodbye", transport::make_message(GoodbyeT{}));
  list(out, "Done", transport::make_message(DoneT{}, 9));
  FailedT failed;
  failed.code = 3;
  failed.message = "not allowed";
  list(out, "Failed", transport::make_message(failed, 10));
}

void list_streams_of_nodes(std::ostream& out) {
  AdvertiseT advertise;
  advertise.stream_id = 0x51;
  advertise.topic = "camera/front/frames";
  advertise.offer = boxed(offer());
  list(out, "Advertise", transport::make_message(std::move(advertise), 2));
  AdvertisedT advertised;
  advertised.matching = 3;
  advertised.sensitive = true;
  advertised.messages_per_second = 1'000;
  list(out, "Advertised", transport::make_message(advertised, 2));
  AddPoolT add;
  add.stream_id = 0x51;
  add.pool = 1;
  list(out, "AddPool", transport::make_message(add, 3));
  WithdrawT withdraw;
  withdraw.stream_id = 0x51;
  list(out, "Withdraw", transport::make_message(withdraw, 4));
  FoundT found;
  found.subscription_id = 0x52;
  found.stream_id = 0x51;
  found.topic = "camera/front/frames";
  found.node_id = 0x53;
  found.node = "front-camera";
  found.uid = 1'000;
  found.offer = boxed(offer());
  list(out, "Found", transport::make_message(std::move(found)));
  GoneT gone;
  gone.stream_id = 0x51;
  gone.cause = Cause::died;
  list(out, "Gone", transport::make_message(gone));
}

void list_subscriptions(std::ostream& out) {
  SubscribeT subscribe;
  subscribe.subscription_id = 0x52;
  subscribe.filters = {"camera/+/frames", "detect/#"};
  subscribe.want = boxed(want());
  subscribe.attached = {Held{0x51, 4'096, 16'777'216}};
  list(out, "Subscribe", transport::make_message(std::move(subscribe), 5));
  AttachT attach;
  attach.subscription_id = 0x52;
  attach.stream_id = 0x51;
  attach.page_offset = 4'096;
  attach.arena_bytes = 16'777'216;
  attach.has_event = true;
  list(out, "Attach", transport::make_message(attach, 6));
  AdmitT admit;
  admit.stream_id = 0x51;
  admit.subscription_id = 0x52;
  admit.node_id = 0x54;
  admit.node = "detector";
  admit.uid = 1'001;
  admit.want = boxed(want());
  admit.page_offset = 4'096;
  admit.arena_bytes = 16'777'216;
  admit.has_process = true;
  list(out, "Admit", transport::make_message(std::move(admit), 6));
  AdmittedT admitted;
  admitted.reader_id = 7;
  admitted.wake_offset = 2'240;
  admitted.arena_bytes = 16'777'216;
  admitted.has_process = true;
  admitted.has_room_event = true;
  list(out, "Admitted", transport::make_message(admitted, 6));
  UnfitT unfit;
  unfit.subscription_id = 0x52;
  unfit.stream_id = 0x51;
  unfit.topic = "camera/front/frames";
  unfit.node = "front-camera";
  unfit.sentence = "no place";
  list(out, "Unfit", transport::make_message(unfit));
  DetachT detach;
  detach.subscription_id = 0x52;
  detach.stream_id = 0x51;
  list(out, "Detach", transport::make_message(detach));
}

void list_watching(std::ostream& out) {
  WatchT watch;
  watch.watch_id = 0x60;
  watch.filter = "#";
  watch.counters = true;
  list(out, "Watch", transport::make_message(watch, 8));
  EventT event;
  event.watch_id = 0x60;
  event.kind = Kind::attachment;
  event.change = Change::changed;
  event.node_id = 0x54;
  event.node = "detector";
  event.pid = 4'242;
  event.uid = 1'001;
  event.state = NodeState::stuck;
  event.stream_id = 0x51;
  event.subscription_id = 0x52;
  event.topic = "camera/front/frames";
  event.filters = {"camera/+/frames"};
  event.offer = boxed(offer());
  event.want = boxed(want());
  event.page_offset = 4'096;
  event.arena_bytes = 16'777'216;
  event.sentence = "why";
  event.version = "2.3";
  event.capabilities = {"detect"};
  list(out, "Event", transport::make_message(std::move(event)));
}

// The number by which a body is told from others.
void list_numbers(std::ostream& out) {
  out << "protocol, bodies\n";
  for (const Body body : EnumValuesBody()) {
    out << "  " << static_cast<int>(body) << "  " << EnumNameBody(body) << '\n';
  }
}

}  // namespace

void list_messages(std::ostream& out) {
  list_envelope(out);
  list_results(out);
  list_opening(out);
  list_streams_of_nodes(out);
  list_subscriptions(out);
  list_watching(out);
  list_numbers(out);
}

}  // namespace sluice::abi
