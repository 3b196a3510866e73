// The loops that are measured, each written once. Their shape is the same for every peer:
//
//   send     span = tx.prepare(); write the message into it; tx.send()
//   receive  span = rx.poll() or rx.wait() until there is one; check it; rx.release()
//   ask      send, then receive, at the same end
//   answer   receive, check, send, and only then release: the reply may need the request
//
// Checked are the sequence number of every message and, when the workload touches its payload,
// every word of it (message.hpp). Anything wrong throws, and the measurement counts as failed.
#pragma once

#include "tests/bench/clock.hpp"
#include "tests/bench/control.hpp"
#include "tests/bench/message.hpp"
#include "tests/bench/peer.hpp"
#include "tests/bench/process.hpp"

#include <sched.h>

#include <cerrno>
#include <stdexcept>
#include <string>

namespace sluice::bench {

template <Waiting waiting, Receiver R>
std::span<const std::byte> receive(R& rx) {
  for (;;) {
    std::span<const std::byte> message;
    if constexpr (waiting == Waiting::kPoll) {
      message = rx.poll();
    } else {
      message = rx.wait();
    }
    if (!message.empty()) return message;
  }
}

inline void require(bool condition, const char* what, std::uint64_t sequence) {
  if (!condition) [[unlikely]] {
    throw std::runtime_error(std::string("verification: ") + what + " at sequence " +
                             std::to_string(sequence & ~kLastMessage));
  }
}

/// Size and payload; the sequence is the caller's to judge.
inline void require_intact(std::span<const std::byte> message, const Workload& workload) {
  const std::uint64_t sequence = load_word(message.data(), 0);
  require(message.size() == workload.message_bytes, "wrong size", sequence);
  require(!workload.touched || payload_intact(message, sequence), "wrong checksum", sequence);
}

inline void write_message(std::span<std::byte> message, const Workload& workload,
                          std::uint64_t sequence) {
  store_word(message.data(), 0, sequence);
  if (!workload.touched) return;
  store_word(message.data(), 1, 0);
  write_payload(message, sequence);
}

template <Sender S>
void send_message(S& tx, const Workload& workload, std::uint64_t sequence) {
  write_message(tx.prepare(workload.message_bytes), workload, sequence);
  tx.send();
}

/// Receives and checks one message; returns its first word.
template <Waiting waiting, Receiver R>
std::uint64_t take_message(R& rx, const Workload& workload) {
  const std::span<const std::byte> message = receive<waiting>(rx);
  const std::uint64_t word = load_word(message.data(), 0);
  require_intact(message, workload);
  rx.release();
  return word;
}

template <Waiting waiting, Sender S, Receiver R>
void run_ping(const RoleContext& context, S& tx, R& rx) {
  const Workload& workload = context.workload;
  RoleReport& report = context.report();
  std::uint64_t sequence = 0;
  const auto round_trip = [&](std::uint64_t flag) {
    const std::uint64_t word = ++sequence | flag;
    const std::uint64_t sent_ns = now_ns();
    send_message(tx, workload, word);
    require(take_message<waiting>(rx, workload) == word, "wrong answer", sequence);
    const std::uint64_t back_ns = now_ns();
    report.latency.record(back_ns - sent_ns);
    return back_ns;
  };

  const std::uint64_t warm_until_ns = now_ns() + context.window_ns / 10;
  while (sequence < workload.warm_up_messages && round_trip(0) < warm_until_ns) {
  }
  context.control.open_window();
  round_trip(0);  // the caches are warm again after the system calls
  report.latency = {};
  const std::uint64_t first = sequence;
  report.begin_ns = now_ns();
  const std::uint64_t end_ns = report.begin_ns + context.window_ns;
  while ((report.end_ns = round_trip(0)) < end_ns) {
  }
  report.messages = sequence - first;
  round_trip(kLastMessage);
}

template <Waiting waiting, Sender S, Receiver R>
void run_pong(const RoleContext& context, S& tx, R& rx) {
  std::uint64_t word = 0;
  for (std::uint64_t expected = 1; (word & kLastMessage) == 0; ++expected) {
    word = take_message<waiting>(rx, context.workload);
    require((word & ~kLastMessage) == expected, "wrong sequence", expected);
    send_message(tx, context.workload, word);
  }
}

template <Waiting waiting, Answerer A>
void run_answer(const RoleContext& context, A& server) {
  const Workload& workload = context.workload;
  std::uint64_t expected = 0;
  // False when it was the last one.
  const auto answer = [&](std::span<const std::byte> request, auto&& prepare) {
    const std::uint64_t word = load_word(request.data(), 0);
    ++expected;
    require((word & ~kLastMessage) == expected, "wrong sequence", expected);
    require_intact(request, workload);
    write_message(prepare(workload.message_bytes), workload, word);
    return (word & kLastMessage) == 0;
  };
  if constexpr (Serving<A>) {
    server.serve(waiting, answer);
  } else {
    for (bool more = true; more;) {
      more = answer(receive<waiting>(server), [&](std::size_t n) { return server.prepare(n); });
      server.send();
      server.release();
    }
  }
}

template <Sender S>
void run_stream_sender(const RoleContext& context, S& tx) {
  const Workload& workload = context.workload;
  // Reading the clock costs half a small message: look at it seldom.
  const std::uint64_t per_look = workload.message_bytes > 65'536 ? 1 : 64;
  std::uint64_t sequence = 0;
  while (sequence < workload.warm_up_messages) send_message(tx, workload, ++sequence);
  context.control.open_window();
  for (const std::uint64_t end_ns = now_ns() + context.window_ns; now_ns() < end_ns;) {
    for (std::uint64_t i = 0; i < per_look; ++i) send_message(tx, workload, ++sequence);
  }
  send_message(tx, workload, ++sequence | kLastMessage);
  if constexpr (Flushing<S>) tx.flush();
}

template <Waiting waiting, Receiver R>
void run_stream_receiver(const RoleContext& context, R& rx) {
  const Workload& workload = context.workload;
  RoleReport& report = context.report();
  std::uint64_t word = 0;
  for (std::uint64_t expected = 1; (word & kLastMessage) == 0; ++expected) {
    word = take_message<waiting>(rx, workload);
    require((word & ~kLastMessage) == expected, "wrong sequence", expected);
    if (word == workload.warm_up_messages + 1) report.begin_ns = now_ns();
  }
  report.end_ns = now_ns();
  report.messages = (word & ~kLastMessage) - workload.warm_up_messages - 1;
}

template <Sender S>
void run_fan_out_publisher(const RoleContext& context, S& tx) {
  const Workload& workload = context.workload;
  const auto period_ns = static_cast<std::uint64_t>(1e9 / workload.rate_hz);
  const std::uint64_t frames = workload.warm_up_messages + context.window_ns / period_ns;
  std::uint64_t due_ns = now_ns();
  for (std::uint64_t sequence = 1; sequence <= frames; ++sequence) {
    if (sequence == workload.warm_up_messages + 1) context.control.open_window();
    due_ns += period_ns;
    sleep_until_ns(due_ns);
    const std::span<std::byte> message = tx.prepare(workload.message_bytes);
    store_word(message.data(), 0, sequence == frames ? sequence | kLastMessage : sequence);
    if (workload.touched) write_payload(message, sequence);
    store_word(message.data(), 1, now_ns());
    tx.send();
  }
  context.report().messages = frames - workload.warm_up_messages;
}

template <Waiting waiting, Receiver R>
void run_fan_out_reader(const RoleContext& context, R& rx) {
  const Workload& workload = context.workload;
  RoleReport& report = context.report();
  std::uint64_t previous = 0;
  // False when it was the last one.
  const auto take = [&](std::span<const std::byte> message) {
    const std::uint64_t taken_ns = now_ns();
    const std::uint64_t word = load_word(message.data(), 0);
    const std::uint64_t sent_ns = load_word(message.data(), 1);
    require_intact(message, workload);
    const std::uint64_t sequence = word & ~kLastMessage;
    require(sequence > previous, "a frame came twice or out of order", sequence);
    report.lost += sequence - previous - 1;
    previous = sequence;
    if (sequence > workload.warm_up_messages) {
      report.latency.record(taken_ns - sent_ns);
      ++report.messages;
    }
    return (word & kLastMessage) == 0;
  };
  if constexpr (Delivering<R>) {
    rx.deliver(take);
  } else {
    for (bool more = true; more; rx.release()) more = take(receive<waiting>(rx));
  }
}

template <class Loop>
void measured(const RoleContext& context, Loop&& loop) {
  context.control.count(context.control.ready);
  context.control.await(Control::kRunning);
  loop();
  context.control.count(context.control.finished);
  context.control.await(Control::kExiting);
}

template <Waiting waiting, RequestPeer P>
void run_request_loops(P& peer, const Channel& channel, const RoleContext& context) {
  if (context.role == 0) {
    auto client = peer.asker(channel);
    client->connect();
    pin_this_thread(context.core);
    measured(context, [&] { run_ping<waiting>(context, *client, *client); });
  } else {
    auto server = peer.answerer(channel);
    server->connect();
    pin_this_thread(context.core);
    measured(context, [&] { run_answer<waiting>(context, *server); });
  }
}

template <Waiting waiting, Peer P>
void run_loops(P& peer, const CellContext& cell, const RoleContext& context) {
  const Channel& out = cell.channels[0];
  const bool streams = !context.workload.fans_out();
  if (context.workload.kind == Kind::kRequest) {
    if constexpr (RequestPeer<P>) {
      run_request_loops<waiting>(peer, out, context);
    } else {
      throw std::runtime_error("this peer knows no requests");
    }
  } else if (context.workload.kind == Kind::kPingPong) {
    const Channel& back = cell.channels[1];
    auto tx = peer.sender(context.role == 0 ? out : back);
    auto rx = peer.receiver(context.role == 0 ? back : out, 0);
    tx->connect();
    rx->connect();
    pin_this_thread(context.core);
    measured(context, [&] {
      context.role == 0 ? run_ping<waiting>(context, *tx, *rx)
                        : run_pong<waiting>(context, *tx, *rx);
    });
  } else if (context.role == 0) {
    auto tx = peer.sender(out);
    tx->connect();
    pin_this_thread(context.core);
    measured(context, [&] {
      streams ? run_stream_sender(context, *tx) : run_fan_out_publisher(context, *tx);
    });
  } else {
    auto rx = peer.receiver(out, context.role - 1);
    rx->connect();
    pin_this_thread(context.core);
    measured(context, [&] {
      streams ? run_stream_receiver<waiting>(context, *rx)
              : run_fan_out_reader<waiting>(context, *rx);
    });
  }
}

/// The whole life of one role, from after the fork to before its exit.
template <Peer P>
void run_role(P& peer, const CellContext& cell, const RoleContext& context) {
  // On one core, helper threads that the transport starts belong there too.
  if (context.workload.placement == Placement::kOneCore) pin_this_thread(context.core);
  peer.enter(context.role);
  context.workload.waiting == Waiting::kPoll ? run_loops<Waiting::kPoll>(peer, cell, context)
                                             : run_loops<Waiting::kBlock>(peer, cell, context);
}

}  // namespace sluice::bench
