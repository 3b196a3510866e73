// Offset and size of each member of what lies in shared memory.
#include "shm/layout.hpp"

#include "sluice/breaker.hpp"
#include "sluice/envelope.hpp"
#include "sluice/frame.hpp"
#include "sluice/tracing.hpp"
#include "tests/abi/listing.hpp"
#include "transport/bus/state_protocol.hpp"
#include "transport/wire.hpp"

namespace sluice::abi {
namespace {

#define PART(type, member) \
  Part { #member, offsetof(type, member), sizeof(type::member) }

void list_control_segment(std::ostream& out) {
  using namespace shm;
  using H = ControlHeader;
  list_parts(out, "ControlHeader", sizeof(H),
             {PART(H, magic),         PART(H, layout_version), PART(H, header_bytes),
              PART(H, stream_id),     PART(H, created_ns),     PART(H, control_bytes),
              PART(H, type_hash),     PART(H, lane_count),     PART(H, pool_count),
              PART(H, slot_limit),    PART(H, max_readers),    PART(H, slots_offset),
              PART(H, publisher_pid), PART(H, max_references), PART(H, flags),
              PART(H, trailer_bytes), PART(H, reserved),       PART(H, lanes),
              PART(H, pools),         PART(H, label)});
  using L = LaneRecord;
  list_parts(out, "LaneRecord", sizeof(L),
             {PART(L, ring_offset), PART(L, depth), PART(L, ring_entries), PART(L, history)});
  using P = PoolRecord;
  list_parts(out, "PoolRecord", sizeof(P),
             {PART(P, pool_bytes), PART(P, slot_bytes), PART(P, first_slot), PART(P, slot_count),
              PART(P, flags)});
  list_parts(out, "StateLine", sizeof(StateLine),
             {PART(StateLine, state), PART(StateLine, pool_count), PART(StateLine, reader_count),
              PART(StateLine, revoked_pools)});
  list_parts(out, "HeadLine", sizeof(HeadLine), {PART(HeadLine, head), PART(HeadLine, tail)});
  using C = PublisherCounters;
  list_parts(
      out, "PublisherCounters", sizeof(C),
      {PART(C, published), PART(C, bytes), PART(C, last_publish_ns), PART(C, wakes),
       PART(C, overwritten), PART(C, no_slot), PART(C, full), PART(C, full_waits), PART(C, evicted),
       PART(C, slots_committed), PART(C, slots_in_use), PART(C, slots_in_use_most),
       PART(C, set_aside), PART(C, looks), PART(C, dropped), PART(C, jitter_ns)});
  using S = SourceLine;
  list_parts(out, "SourceLine", sizeof(S),
             {PART(S, expected_interval_ns), PART(S, gaps), PART(S, reconnects), PART(S, copies),
              PART(S, dropped), PART(S, fourcc), PART(S, size)});
  list_parts(out, "Histogram", sizeof(Histogram), {PART(Histogram, count)});
  using E = Entry;
  list_parts(out, "Entry", sizeof(E),
             {PART(E, sequence), PART(E, publish_ns), PART(E, origin_ns), PART(E, correlation_high),
              PART(E, correlation_low), PART(E, type_hash), PART(E, place), PART(E, meta)});
  using R = SlotRecord;
  list_parts(
      out, "SlotRecord", sizeof(R),
      {PART(R, word), PART(R, bytes), PART(R, publish_ns), PART(R, origin_ns),
       PART(R, correlation_high), PART(R, correlation_low), PART(R, type_hash), PART(R, meta)});
  list_parts(out, "control segment", kRingsOffset,
             {{"ControlHeader", 0, sizeof(H)},
              {"StateLine", kStateOffset, sizeof(StateLine)},
              {"HeadLine", kHeadOffset, sizeof(HeadLine)},
              {"PublisherCounters", kPublisherCountersOffset, sizeof(C)},
              {"SourceLine", kSourceOffset, sizeof(S)},
              {"intervals", kIntervalsOffset, sizeof(Histogram)},
              {"ages", kPublishAgesOffset, sizeof(Histogram)}});
  using F = ForeignPlace;
  list_parts(out, "ForeignPlace", sizeof(F), {PART(F, pool), PART(F, offset), PART(F, bytes)});
  list_parts(out, "UserHeader", sizeof(UserHeader), {PART(UserHeader, bytes)});
  using T = ReferenceTrailer;
  list_parts(out, "ReferenceTrailer", sizeof(T), {PART(T, count), PART(T, references)});
  list_parts(out, "Reference", sizeof(Reference),
             {PART(Reference, stream_id), PART(Reference, sequence), PART(Reference, slot),
              PART(Reference, lane)});
}

void list_reader_page(std::ostream& out) {
  using namespace shm;
  using I = IdentityLine;
  list_parts(out, "IdentityLine", sizeof(I),
             {PART(I, mode), PART(I, max_held), PART(I, pid), PART(I, stream_id),
              PART(I, claim_pairs), PART(I, attached_ns)});
  list_parts(out, "SleepLine", sizeof(SleepLine),
             {PART(SleepLine, sleep), PART(SleepLine, room), PART(SleepLine, state)});
  using C = ReaderCounters;
  list_parts(out, "ReaderCounters", sizeof(C),
             {PART(C, taken), PART(C, lost), PART(C, bytes), PART(C, acknowledged),
              PART(C, resolved), PART(C, unresolved), PART(C, sleeps), PART(C, quota),
              PART(C, last_take_ns), PART(C, rejected)});
  list_parts(out, "ProgressLine", sizeof(ProgressLine),
             {PART(ProgressLine, taken), PART(ProgressLine, returned)});
  using P = ReaderPage;
  list_parts(out, "ReaderPage", sizeof(P),
             {PART(P, identity),
              PART(P, sleeping),
              PART(P, counters),
              PART(P, age),
              PART(P, processing),
              PART(P, end_to_end),
              PART(P, progress),
              PART(P, cursor),
              {"claims", kClaimsOffset, 0}});
  list_parts(out, "ClaimPair", sizeof(ClaimPair),
             {PART(ClaimPair, taken), PART(ClaimPair, resolved)});
}

void list_wake_page(std::ostream& out) {
  using namespace shm;
  using W = WakeLine;
  list_parts(
      out, "WakeLine", sizeof(W),
      {PART(W, wake), PART(W, wants_room), PART(W, state), PART(W, cause), PART(W, reader_id)});
  list_parts(out, "AdmissionLine", sizeof(AdmissionLine),
             {PART(AdmissionLine, start), PART(AdmissionLine, stop)});
  list_parts(out, "AssignmentLine", sizeof(AssignmentLine),
             {PART(AssignmentLine, assigned), PART(AssignmentLine, finished)});
  using G = GroupWakePage;
  list_parts(out, "GroupWakePage", sizeof(G), {PART(G, wake), PART(G, assignments), PART(G, ring)});
  out << "assignment, lane 3, delivered 5 times, message 7: " << std::hex
      << assignment_word(3, 5, 7)
      << "\nslot word, message 7, lane 3, live: " << slot_word(7, 3, SlotState::live)
      << "\nload, busy, 9 waiting: " << load_word(1, 9) << std::dec << '\n';
}

void list_payloads(std::ostream& out) {
  using E = Envelope;
  list_parts(out, "Envelope", sizeof(E),
             {PART(E, magic), PART(E, version), PART(E, kind), PART(E, codec), PART(E, flags),
              PART(E, hops), PART(E, attempt), PART(E, trace_flags), PART(E, header_bytes),
              PART(E, status), PART(E, id), PART(E, trace_id), PART(E, span_id), PART(E, source),
              PART(E, destination), PART(E, expires_ns), PART(E, call), PART(E, cancelled)});
  using F = FrameHeader;
  list_parts(out, "FrameHeader", sizeof(F),
             {PART(F, magic), PART(F, header_bytes), PART(F, format), PART(F, width),
              PART(F, height), PART(F, plane_count), PART(F, modifier), PART(F, number),
              PART(F, sensor_ns), PART(F, sensor_clock), PART(F, rotation), PART(F, exposure_us),
              PART(F, gain_milli), PART(F, planes), PART(F, camera)});
  using P = PlaneLayout;
  list_parts(out, "PlaneLayout", sizeof(P),
             {PART(P, offset), PART(P, stride), PART(P, rows), PART(P, size)});
  using S = TraceSpan;
  list_parts(out, "TraceSpan", sizeof(S),
             {PART(S, correlation), PART(S, origin_ns), PART(S, input_ns), PART(S, taken_ns),
              PART(S, output_ns), PART(S, done_ns), PART(S, input), PART(S, output), PART(S, end),
              PART(S, pid), PART(S, stage), PART(S, topic)});
  using H = Health;
  list_parts(out, "Health", sizeof(H),
             {PART(H, status), PART(H, pid), PART(H, since_ns), PART(H, at_ns), PART(H, handled),
              PART(H, failed), PART(H, skipped), PART(H, slow), PART(H, published),
              PART(H, no_room), PART(H, copies), PART(H, handling_p50_ns), PART(H, handling_p99_ns),
              PART(H, node), PART(H, last_error)});
  using R = bus::StateRequest;
  list_parts(out, "StateRequest", sizeof(R),
             {PART(R, operation), PART(R, key_bytes), PART(R, revision)});
  list_parts(out, "StateAnswer", sizeof(bus::StateAnswer), {PART(bus::StateAnswer, revision)});
}

#undef PART

}  // namespace

void list_layout(std::ostream& out) {
  out << "layout version " << shm::kLayoutVersion << ", envelope version " << int{kEnvelopeVersion}
      << ", protocol version " << transport::kProtocolVersion << '\n';
  list_control_segment(out);
  list_reader_page(out);
  list_wake_page(out);
  list_payloads(out);
}

}  // namespace sluice::abi
