// A topic may have several publishers and a node several streams, so all of it is a graph:
// processes and topics are its vertices, each publication and each attached subscription an edge
// with a rate.
#include "tools/sluice/survey.hpp"

#include "tools/sluice/text.hpp"
#include "tools/sluice/text_table.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/top_view.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace sluice::tools {
namespace {

using nlohmann::json;

const NodeInfo* node_of(const Snapshot& snapshot, std::uint64_t id) {
  const auto at = std::find_if(snapshot.nodes.begin(), snapshot.nodes.end(),
                               [id](const NodeInfo& node) { return node.id == id; });
  return at != snapshot.nodes.end() ? &*at : nullptr;
}

std::string name_of_node(const Snapshot& snapshot, std::uint64_t id) {
  const NodeInfo* node = node_of(snapshot, id);
  return node != nullptr ? node->name : "?";
}

std::size_t readers_of(const Snapshot& snapshot, std::uint64_t stream_id) {
  std::size_t count = 0;
  for (const SubscriptionInfo& subscription : snapshot.subscriptions) {
    for (const AttachmentInfo& attachment : subscription.attachments) {
      count += attachment.stream_id == stream_id;
    }
  }
  return count;
}

std::string format_of(const SourceInfo& source) {
  if (source.fourcc == 0) return {};
  return format_text(source.fourcc) + " " + std::to_string(source.width) + "x" +
         std::to_string(source.height);
}

std::string section(const char* name, const TextTable& table) {
  if (table.empty()) return {};
  return joined({name, "\n", table.text(2), "\n"});
}

json source_json(const SourceInfo& source) {
  return {{"expected_hz", source.expected_interval_ns != 0
                              ? json(1e9 / static_cast<double>(source.expected_interval_ns))
                              : json()},
          {"format", source.fourcc != 0 ? json(format_text(source.fourcc)) : json()},
          {"width", source.width},
          {"height", source.height}};
}

// Edges of the graph, the same between two vertices summed up.
struct Publication {
  double rate_hz = 0;
  std::size_t streams = 0;
};
struct Subscription {
  double rate_hz = 0;
  double lost_hz = 0;
  const char* mode = nullptr;
  bool refs = true;    // only resolves references
  bool loses = false;  // what it did not ask to lose

  void add(const ReaderRow& row) {
    rate_hz += row.rate_hz;
    lost_hz += row.lost_per_second();
    loses = loses || row.loses();
    if (mode == nullptr || refs) mode = row.mode_text();
    refs = refs && row.refs;
  }
};
using Takers = std::map<std::string, Subscription>;  // by process
struct Graph {
  std::map<std::string, std::map<std::string, Publication>> published;  // process, topic
  std::map<std::string, Takers> of_topic;
  std::map<std::pair<std::string, std::string>, Takers> of_stream;  // of a process and topic
};

const char* mode_of(const SubscriptionInfo& subscription) {
  const auto& all = subscription.attachments;
  const bool refs =
      !all.empty() &&
      std::all_of(all.begin(), all.end(),
                  [](const AttachmentInfo& attachment) { return attachment.stats.taken == 0; }) &&
      std::any_of(all.begin(), all.end(),
                  [](const AttachmentInfo& attachment) { return only_resolves(attachment.stats); });
  return refs ? "refs" : to_string(subscription.mode);
}

Graph graph_of(const Table& table) {
  Graph graph;
  for (const StreamRow& stream : table.streams) {
    if (stream.state == StreamState::gone) continue;
    Publication& edge = graph.published[stream.process][stream.topic];
    edge.rate_hz += stream.rate_hz;
    ++edge.streams;
    for (const ReaderRow& reader : stream.readers) {
      if (reader.state == ReaderState::gone || reader.state == ReaderState::unfit) continue;
      graph.of_topic[stream.topic][reader.process].add(reader);
      graph.of_stream[{stream.process, stream.topic}][reader.process].add(reader);
    }
  }
  return graph;
}

std::string dot_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : clean(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

std::vector<std::string> topics_of(const Snapshot& snapshot) {
  std::set<std::string> topics;
  for (const StreamInfo& stream : snapshot.streams) topics.insert(stream.topic);
  return {topics.begin(), topics.end()};
}

std::vector<std::string> nodes_of(const Snapshot& snapshot) {
  std::set<std::string> names;
  for (const NodeInfo& node : snapshot.nodes) names.insert(node.name);
  return {names.begin(), names.end()};
}

std::string list_text(const Snapshot& snapshot) {
  TextTable streams(
      {"TOPIC", "TYPE", "FORMAT", "PROCESS", ">PID", ">PUBLISHED", ">SUBSCRIBERS", "STATE"});
  std::vector<const StreamInfo*> sorted;
  for (const StreamInfo& stream : snapshot.streams) sorted.push_back(&stream);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::tie(a->topic, a->id) < std::tie(b->topic, b->id);
  });
  for (const StreamInfo* stream : sorted) {
    const NodeInfo* node = node_of(snapshot, stream->node_id);
    streams.add({stream->topic, stream->type_name, format_of(stream->source),
                 node != nullptr ? node->name : "?",
                 node != nullptr ? std::to_string(node->pid) : "?",
                 std::to_string(stream->stats.published),
                 std::to_string(readers_of(snapshot, stream->id)), stream->ended ? "ended" : ""});
  }
  TextTable subscriptions({"FILTER", "MODE", "PROCESS", ">STREAMS"});
  std::vector<std::vector<std::string>> rows;
  for (const SubscriptionInfo& subscription : snapshot.subscriptions) {
    rows.push_back({subscription.filter, mode_of(subscription),
                    name_of_node(snapshot, subscription.node_id),
                    std::to_string(subscription.attachments.size())});
  }
  std::sort(rows.begin(), rows.end());
  for (auto& row : rows) subscriptions.add(std::move(row));
  rows.clear();
  TextTable nodes({"NODE", ">PID", ">UID", "STATE"});
  for (const NodeInfo& node : snapshot.nodes) {
    rows.push_back(
        {node.name, std::to_string(node.pid), std::to_string(node.uid), node.stuck ? "stuck" : ""});
  }
  std::sort(rows.begin(), rows.end());
  for (auto& row : rows) nodes.add(std::move(row));
  TextTable unfit({"TOPIC", "SUBSCRIBER", "WHY NOT"});
  for (const UnfitInfo& pair : snapshot.unfit) {
    std::string topic = "?";
    std::string who = "?";
    for (const StreamInfo& stream : snapshot.streams) {
      if (stream.id == pair.stream_id) topic = stream.topic;
    }
    for (const SubscriptionInfo& subscription : snapshot.subscriptions) {
      if (subscription.id == pair.subscription_id) {
        who = name_of_node(snapshot, subscription.node_id);
      }
    }
    unfit.add({topic, who, pair.sentence});
  }
  std::string all = section("streams", streams) + section("subscriptions", subscriptions) +
                    section("nodes", nodes) + section("do not fit", unfit);
  if (!all.empty()) all.pop_back();
  return all;
}

json list_json(const Snapshot& snapshot) {
  json nodes = json::array();
  for (const NodeInfo& node : snapshot.nodes) {
    nodes.push_back({{"id", id_text(node.id)},
                     {"name", node.name},
                     {"pid", node.pid},
                     {"uid", node.uid},
                     {"stuck", node.stuck}});
  }
  json streams = json::array();
  for (const StreamInfo& stream : snapshot.streams) {
    json one{{"id", id_text(stream.id)},
             {"node", id_text(stream.node_id)},
             {"process", name_of_node(snapshot, stream.node_id)},
             {"topic", stream.topic},
             {"type", stream.type_name},
             {"slot_bytes", stream.slot_bytes},
             {"planned_bytes", stream.planned_bytes},
             {"published", stream.stats.published},
             {"ended", stream.ended},
             {"subscribers", readers_of(snapshot, stream.id)}};
    one.update(source_json(stream.source));
    streams.push_back(std::move(one));
  }
  json subscriptions = json::array();
  for (const SubscriptionInfo& subscription : snapshot.subscriptions) {
    json attached = json::array();
    for (const AttachmentInfo& a : subscription.attachments)
      attached.push_back(id_text(a.stream_id));
    subscriptions.push_back({{"id", id_text(subscription.id)},
                             {"node", id_text(subscription.node_id)},
                             {"process", name_of_node(snapshot, subscription.node_id)},
                             {"filter", subscription.filter},
                             {"mode", mode_of(subscription)},
                             {"streams", std::move(attached)}});
  }
  json unfit = json::array();
  for (const UnfitInfo& pair : snapshot.unfit) {
    unfit.push_back({{"stream", id_text(pair.stream_id)},
                     {"subscription", id_text(pair.subscription_id)},
                     {"sentence", pair.sentence}});
  }
  return {{"broker_connected", snapshot.broker_connected},
          {"topics", topics_of(snapshot)},
          {"nodes", std::move(nodes)},
          {"streams", std::move(streams)},
          {"subscriptions", std::move(subscriptions)},
          {"unfit", std::move(unfit)}};
}

std::string node_text(const Snapshot& snapshot, const Table& table, std::string_view node) {
  std::string all;
  for (const NodeInfo& info : snapshot.nodes) {
    if (info.name != node) continue;
    all += joined({"node ", clean(info.name), ", pid ", std::to_string(info.pid), ", user ",
                   std::to_string(info.uid), info.stuck ? ", STUCK" : "", "\n"});
    TextTable streams({"PUBLISHES", "TYPE", ">RATE/s", ">MB/s", "STATE"});
    TextTable taken(
        {"SUBSCRIBES", "MODE", ">RATE/s", ">LOST/s", ">HELD", ">AGE99", ">WORK", "STATE"});
    std::string refused;
    for (const StreamRow& stream : table.streams) {
      if (stream.process == node && stream.pid == info.pid) {
        streams.add({stream.topic, stream.type_name, rate_text(stream.rate_hz),
                     rate_text(stream.bytes_per_second / 1e6), to_string(stream.state)});
      }
      for (const ReaderRow& reader : stream.readers) {
        if (reader.process != node || reader.pid != info.pid) continue;
        if (reader.state == ReaderState::unfit) {
          refused +=
              joined({"  does not fit ", clean(stream.topic), ": ", clean(reader.sentence), "\n"});
          continue;
        }
        taken.add({stream.topic, reader.mode_text(), rate_text(reader.rate_hz),
                   rate_text(reader.lost_per_second()), count_text(reader.held),
                   reader.age ? duration_text(reader.age->p99_ns) : "–",
                   reader.processing ? duration_text(reader.processing->p50_ns) : "–",
                   to_string(reader.state)});
      }
    }
    if (!streams.empty()) all += streams.text(2);
    if (!taken.empty()) all += taken.text(2);
    for (const SubscriptionInfo& subscription : snapshot.subscriptions) {
      if (subscription.node_id == info.id && subscription.attachments.empty()) {
        all += joined({"  waits for streams of ", clean(subscription.filter), "\n"});
      }
    }
    all += refused;
  }
  return all;
}

json node_json(const Snapshot& snapshot, const Table& table, std::string_view node) {
  const json rows = to_json(table)["streams"];
  json nodes = json::array();
  for (const NodeInfo& info : snapshot.nodes) {
    if (info.name != node) continue;
    json published = json::array();
    json subscribed = json::array();
    for (const json& stream : rows) {
      if (stream["process"] == info.name && stream["pid"] == info.pid) published.push_back(stream);
      for (json reader : stream["subscriptions"]) {
        if (reader["process"] != info.name || reader["pid"] != info.pid) continue;
        reader["topic"] = stream["topic"];
        subscribed.push_back(std::move(reader));
      }
    }
    nodes.push_back({{"id", id_text(info.id)},
                     {"name", info.name},
                     {"pid", info.pid},
                     {"uid", info.uid},
                     {"stuck", info.stuck},
                     {"publishes", std::move(published)},
                     {"subscribes", std::move(subscribed)}});
  }
  return nodes;
}

std::string graph_text(const Table& table) {
  const Graph graph = graph_of(table);
  std::string all;
  for (const auto& [process, topics] : graph.published) {
    all += joined({clean(process), "\n"});
    for (const auto& [topic, publication] : topics) {
      all += joined({"  ", clean(topic), "  ", rate_text(publication.rate_hz), "/s\n"});
      const auto takers = graph.of_stream.find({process, topic});
      if (takers == graph.of_stream.end()) continue;
      for (const auto& [taker, edge] : takers->second) {
        all += joined({"    -> ", clean(taker), "  "});
        all += edge.refs ? "resolves references"
                         : joined({edge.mode, ", ", rate_text(edge.rate_hz), "/s"});
        if (edge.lost_hz > 0) all += joined({", loses ", rate_text(edge.lost_hz), "/s"});
        all += '\n';
      }
    }
  }
  return all;
}

std::string graph_dot(const Table& table) {
  const Graph graph = graph_of(table);
  std::set<std::string> processes;
  std::set<std::string> topics;
  std::string edges;
  // Vertices of the two kinds may have one name: the prefix tells them apart.
  const auto process_id = [](const std::string& name) { return dot_quoted("process " + name); };
  const auto topic_id = [](const std::string& name) { return dot_quoted("topic " + name); };
  for (const auto& [process, published] : graph.published) {
    processes.insert(process);
    for (const auto& [topic, edge] : published) {
      topics.insert(topic);
      edges += joined({"  ", process_id(process), " -> ", topic_id(topic),
                       " [label=", dot_quoted(joined({rate_text(edge.rate_hz), "/s"})), "];\n"});
    }
  }
  for (const auto& [topic, takers] : graph.of_topic) {
    for (const auto& [process, edge] : takers) {
      processes.insert(process);
      edges +=
          joined({"  ", topic_id(topic), " -> ", process_id(process), " [label=",
                  dot_quoted(edge.refs ? std::string("references")
                                       : joined({edge.mode, " ", rate_text(edge.rate_hz), "/s"})),
                  edge.refs ? ", style=dashed" : "", edge.loses ? ", color=red" : "", "];\n"});
    }
  }
  std::string all = "digraph sluice {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n";
  for (const std::string& process : processes) {
    all += joined({"  ", process_id(process), " [shape=box, label=", dot_quoted(process), "];\n"});
  }
  for (const std::string& topic : topics) {
    all += joined({"  ", topic_id(topic), " [shape=ellipse, label=", dot_quoted(topic), "];\n"});
  }
  return all + edges + "}\n";
}

json graph_json(const Table& table) {
  const Graph graph = graph_of(table);
  std::set<std::string> processes;
  std::set<std::string> topics;
  json edges = json::array();
  for (const auto& [process, published] : graph.published) {
    processes.insert(process);
    for (const auto& [topic, edge] : published) {
      topics.insert(topic);
      edges.push_back({{"kind", "publishes"},
                       {"process", process},
                       {"topic", topic},
                       {"rate_hz", edge.rate_hz},
                       {"streams", edge.streams}});
    }
  }
  for (const auto& [topic, takers] : graph.of_topic) {
    for (const auto& [process, edge] : takers) {
      processes.insert(process);
      edges.push_back({{"kind", "subscribes"},
                       {"process", process},
                       {"topic", topic},
                       {"mode", edge.mode},
                       {"rate_hz", edge.rate_hz},
                       {"lost_hz", edge.lost_hz}});
    }
  }
  return {{"processes", processes}, {"topics", topics}, {"edges", std::move(edges)}};
}

}  // namespace sluice::tools
