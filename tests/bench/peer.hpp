// What a transport must offer to be measured. A peer is a class that models the concept Peer; the
// loops in roles.hpp are templates over it, so every peer runs the identical loop and none pays for
// a virtual call. Each family of peers is a program of its own (peer_<family>.cpp ends in
// cell_main<…>), so that no process carries the libraries of another.
//
// One measurement:
//
//   cell      P peer(context)             once, before the roles are forked: make what they
//   inherit, start
//                                         a daemon
//   role      peer.enter(role)            after the fork
//             tx = peer.sender(channel)   a role makes all its senders first,
//             rx = peer.receiver(channel, reader)   then its receivers; neither waits for the other
//             side
//                                         longer than the other side needs to get this far
//             tx->connect(); rx->connect()   in that order; returns when messages will arrive
//             …the loop…
//             ends destroyed: rx, tx
//   cell      peer destroyed: the daemon is stopped
//
// Everything reports failure by throwing; the measurement then counts as failed.
#pragma once

#include "tests/bench/workload.hpp"

#include <sys/types.h>

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace sluice::bench {

/// One direction from one sender to one or more readers.
struct Channel {
  unsigned index;  // 0 leaves role 0; 1 is the way back of a ping-pong
  std::size_t message_bytes;
  std::uint32_t depth;  // messages that may wait; see Workload
  unsigned readers;
  bool lossless;  // a sender that runs ahead waits; else the oldest waiting message may be dropped
  Waiting waiting;
};

struct CellContext {
  const Workload& workload;
  std::string peer;       // the name by which the harness knows it
  std::string directory;  // for sockets and configuration; removed afterwards
  std::vector<Channel> channels;
};

template <typename S>
concept Sender = requires(S sender, std::size_t bytes) {
  { sender.connect() } -> std::same_as<void>;
  // Memory for the next message: the slot itself where the transport can do that. Waits while the
  // receiver is `depth` behind, here or in send().
  { sender.prepare(bytes) } -> std::same_as<std::span<std::byte>>;
  { sender.send() } -> std::same_as<void>;
};

template <typename R>
concept Receiver = requires(R receiver) {
  { receiver.connect() } -> std::same_as<void>;
  // The next message in place, or an empty span when there is none yet. A transport that cannot
  // poll sensibly may block.
  { receiver.poll() } -> std::same_as<std::span<const std::byte>>;
  // The same, asleep until there is one. It may wait for ever: the harness kills who hangs. An
  // empty span is allowed now and then, the caller waits again.
  { receiver.wait() } -> std::same_as<std::span<const std::byte>>;
  { receiver.release() } -> std::same_as<void>;  // ends the use of that message
};

/// A receiver may prefer to call than to be called: for each message, in a thread of its own, until
/// the handler says that it was the last one; throws what the handler throws. Fan-outs then use
/// this.
using Handler = std::function<bool(std::span<const std::byte>)>;
template <typename R>
concept Delivering = Receiver<R> && requires(R receiver, const Handler& handler) {
  { receiver.deliver(handler) } -> std::same_as<void>;
};

/// The end that asks: a request goes out as a message does, and its reply comes back as one does;
/// release() ends the use of the reply.
template <typename A>
concept Asker = Sender<A> && Receiver<A>;

/// The end that answers. Either it receives requests, and sends one reply to each before it
/// releases the request, or it calls: for each request, until the function says that it was the
/// last one. The function writes the reply into the memory that `prepare` gives it; throws what the
/// function throws, or has the asker learn it.
using Prepare = std::function<std::span<std::byte>(std::size_t bytes)>;
using Answer = std::function<bool(std::span<const std::byte> request, const Prepare& prepare)>;
template <typename A>
concept Serving = requires(A answerer, Waiting waiting, const Answer& answer) {
  { answerer.connect() } -> std::same_as<void>;
  { answerer.serve(waiting, answer) } -> std::same_as<void>;
};
template <typename A>
concept Answerer = Serving<A> ||(Sender<A>&& Receiver<A>);

/// A sender that keeps messages back for a batch sends them all. Called before it stops for a
/// while.
template <typename S>
concept Flushing = Sender<S> && requires(S sender) {
  { sender.flush() } -> std::same_as<void>;
};

template <typename P>
concept Peer = std::constructible_from<P, const CellContext&> &&
    requires(P peer, const Channel& channel, unsigned index) {
  { peer.enter(index) } -> std::same_as<void>;
  requires Sender<typename decltype(peer.sender(channel))::element_type>;
  requires Receiver<typename decltype(peer.receiver(channel, index))::element_type>;
  { peer.daemons() } -> std::same_as<std::vector<pid_t>>;  // their time and memory count too
};

/// One that takes part in requests as well.
template <typename P>
concept RequestPeer = Peer<P> && requires(P peer, const Channel& channel) {
  requires Asker<typename decltype(peer.asker(channel))::element_type>;
  requires Answerer<typename decltype(peer.answerer(channel))::element_type>;
};

}  // namespace sluice::bench
