// From TOML to the command lines of a pipeline's processes.
//
// Most keys of a table are options of its program under the same name: a line of a list says which,
// and what its values may be. What has a meaning beyond one process is read by hand: the names that
// tables refer to each other by, workers that share a camera, paths, which are relative to the
// file. References are checked last, when all names are known.
#include "daemons/run/pipeline_file.hpp"

#include "daemons/common/toml_reader.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

namespace sluice::run {
namespace {

constexpr unsigned kMaxCpu = 1'023;  // what cpu_set_t has room for
constexpr std::int64_t kMaxWorkers = 64;
constexpr std::size_t kMaxName = 31;

constexpr std::array<const char*, 3> kRestarts{"always", "on-failure", "never"};
constexpr std::array<const char*, 3> kStarts{"auto", "always", "never"};
constexpr std::array<const char*, 8> kFormats{"any", "NV12", "I420", "YUYV",
                                              "BGR", "RGB",  "GREY", "MJPEG"};
constexpr std::array<const char*, 3> kTransports{"tcp", "udp", "auto"};
constexpr std::array<const char*, 2> kModes{"latest", "next"};
constexpr std::array<const char*, 4> kDetectorModels{"lbp", "haar", "hog", "yunet"};
constexpr std::array<const char*, 2> kRecognizerModels{"lbph", "sface"};
constexpr std::array<std::string_view, 7> kSchemes{"v4l2", "libcamera", "rtsp", "rtsps",
                                                   "file", "images",    "test"};

// std::quoted is found for strings, too.
std::string shown(std::string_view text) { return transport::quoted(text); }

std::string text_of(double number) {
  std::array<char, 32> text{};
  const auto [end, code] = std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), code == std::errc{} ? end : text.data()};
}

// What tables refer to, and where they do.
struct Use {
  std::string name;
  toml::source_position at;
  std::string what;  // "camera of [detector.door]"
  const std::set<std::string>* among;
  const char* kind;  // of table: "camera"
};

// A process, and where in the file it stands.
struct Placed {
  toml::source_position at;
  Process process;
};

class Reader : public daemon::TomlReader {
 public:
  Reader(std::string source, std::string folder, std::string output)
      : TomlReader(std::move(source)), folder_(std::move(folder)), output_(std::move(output)) {}

  Result<Pipeline> read(const toml::table& root) {
    Pipeline pipeline;
    pipeline.broker = {.kind = Kind::broker, .name = "sluiced", .command = {"sluiced"}};
    collect_names(root);
    read_table(root, "the file",
               {{"broker", [&](const toml::node& node) { read_broker(node, pipeline); }},
                each("camera", [this](auto&... a) { read_camera(a...); }),
                each("detector", [this](auto&... a) { read_detector(a...); }),
                each("recognizer", [this](auto&... a) { read_recognizer(a...); }),
                each("annotator", [this](auto&... a) { read_annotator(a...); }),
                each("process", [this](auto&... a) { read_process(a...); })});
    check_uses();
    check_names();
    if (auto error = first_error()) return std::move(*error);
    plan_holders();
    std::stable_sort(placed_.begin(), placed_.end(),
                     [](const Placed& a, const Placed& b) { return a.at < b.at; });
    for (Placed& placed : placed_) pipeline.processes.push_back(std::move(placed.process));
    return pipeline;
  }

 private:
  struct Named {
    std::string name;
    std::string where;  // "[camera.hall]"
    toml::source_position at;
    const toml::table& table;
  };

  // --- tables of tables --------------------------------------------------------------------------

  void collect_names(const toml::table& root) {
    const auto names_of = [&](const char* kind, std::set<std::string>& names) {
      const toml::node* node = root.get(kind);
      if (node == nullptr || !node->is_table()) return;
      for (const auto& [key, value] : *node->as_table()) names.emplace(key.str());
    };
    names_of("camera", cameras_);
    names_of("detector", detectors_);
    names_of("recognizer", recognizers_);
  }

  template <class Read>
  Field each(const char* kind, Read read) {
    return {kind, [this, kind, read](const toml::node& node) {
              const toml::table* all = node.as_table();
              const std::string form = std::string("[") + kind + ".NAME]";
              if (all == nullptr) {
                fail(node, std::string(kind) + " is a table of tables; write " + form +
                               " and its keys on lines of their own");
                return;
              }
              for (const auto& [key, value] : *all) {
                const std::string name(key.str());
                const toml::table* table = value.as_table();
                if (table == nullptr) {
                  fail(key.source().begin, shown(name) + " stands where the name of a " + kind +
                                               " belongs; write " + form + " above the keys");
                  continue;
                }
                if (!check_name(name, key.source().begin, kind)) continue;
                const Named named{name, std::string("[") + kind + "." + name + "]",
                                  key.source().begin, *table};
                Process process;
                process.table = name;
                read(named, process);
              }
            }};
  }

  // A name is a level of topics, and of a node's name, and an argument.
  bool check_name(const std::string& name, const toml::source_position& at, const char* kind) {
    const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
      return static_cast<unsigned char>(c) > ' ' && static_cast<unsigned char>(c) != 0x7f;
    });
    if (!name.empty() && name.size() <= kMaxName && name[0] != '-' && printable &&
        name.find_first_of("/+#$") == std::string::npos) {
      return true;
    }
    fail(at, "the " + std::string(kind) + "'s name " + shown(name) +
                 " cannot be a level of a topic; write 1 to " + std::to_string(kMaxName) +
                 " bytes without spaces, / + # $, and a dash in front");
    return false;
  }

  // --- values that become options
  // -----------------------------------------------------------------

  struct Out {
    std::vector<std::string>& arguments;
    void add(std::string option, std::string value) {
      arguments.push_back(std::move(option));
      arguments.push_back(std::move(value));
    }
  };

  Field whole(const Named& table, const char* key, const char* option, std::int64_t least,
              std::int64_t most, Process& process) {
    return {key, [=, this, &table, &process](const toml::node& node) {
              const std::int64_t value =
                  read_integer(node, std::string(key) + " of " + table.where, least, most);
              Out{process.command}.add(option, std::to_string(value));
            }};
  }
  Field number(const Named& table, const char* key, const char* option, double least, double most,
               Process& process) {
    return {key, [=, this, &table, &process](const toml::node& node) {
              const double value =
                  read_number(node, std::string(key) + " of " + table.where, least, most);
              Out{process.command}.add(option, text_of(value));
            }};
  }
  template <class Names>
  Field choice(const char* key, const char* option, const Names& names, Process& process) {
    return {key, [this, key, option, &names, &process](const toml::node& node) {
              Out{process.command}.add(option, names[read_choice(node, key, names)]);
            }};
  }
  Field path(const Named& table, const char* key, const char* option, Process& process) {
    return {key, [this, key, option, &table, &process](const toml::node& node) {
              Out{process.command}.add(option,
                                       read_path(node, std::string(key) + " of " + table.where));
            }};
  }

  Field written(const Named& table, const char* key, const char* option, Process& process) {
    return {key, [this, key, option, &table, &process](const toml::node& node) {
              Out{process.command}.add(
                  option, read_path(node, std::string(key) + " of " + table.where, output_));
            }};
  }

  std::string read_path(const toml::node& node, const std::string& what) {
    return read_path(node, what, folder_);
  }
  std::string read_path(const toml::node& node, const std::string& what,
                        const std::string& folder) {
    const std::size_t before = problems();
    std::string text = read_string(node, what);
    if (problems() != before) return text;
    if (text.empty() || text.find('\0') != std::string::npos) {
      fail(node, what + " is " + shown(text) + "; write a path, from / or from this file's folder");
    }
    return absolute(text, folder);
  }
  static std::string absolute(const std::string& path, const std::string& folder) {
    return (std::filesystem::path(folder) / path).lexically_normal().string();
  }

  // What every table may have, appended to its own keys.
  void read_own(const Named& table, Process& process, std::vector<Field> fields) {
    fields.push_back({"restart", [&](const toml::node& node) {
                        process.restart =
                            static_cast<Restart>(read_choice(node, "restart", kRestarts));
                      }});
    fields.push_back({"nice", [&](const toml::node& node) {
                        process.nice =
                            static_cast<int>(read_integer(node, "nice of " + table.where, -20, 19));
                      }});
    fields.push_back(
        {"cpus", [&](const toml::node& node) { read_cpus(node, table.where, process); }});
    read_table(table.table, table.where, fields);
  }

  void read_cpus(const toml::node& node, const std::string& where, Process& process) {
    const std::string what = "cpus of " + where;
    std::set<unsigned> cpus;
    if (const toml::array* array = node.as_array()) {
      for (const toml::node& element : *array) {
        cpus.insert(static_cast<unsigned>(read_integer(element, "each of " + what, 0, kMaxCpu)));
      }
    } else if (const auto* text = node.as_string()) {
      if (!cpus_of(text->get(), cpus)) cpus.clear();
    } else {
      cpus.insert(static_cast<unsigned>(read_integer(node, what, 0, kMaxCpu)));
    }
    if (cpus.empty()) {
      fail(node, what + " names no processors; write some such as [0, 1] or \"0-3,5\"");
    }
    process.cpus.assign(cpus.begin(), cpus.end());
  }

  // "0-3,5"
  static bool cpus_of(std::string_view text, std::set<unsigned>& cpus) {
    const auto next = [&](unsigned& value) {
      const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (code != std::errc{} || value > kMaxCpu) return false;
      text.remove_prefix(static_cast<std::size_t>(end - text.data()));
      return true;
    };
    for (;;) {
      unsigned first = 0;
      if (!next(first)) return false;
      unsigned last = first;
      if (!text.empty() && text[0] == '-') {
        text.remove_prefix(1);
        if (!next(last) || last < first) return false;
      }
      for (unsigned cpu = first; cpu <= last; ++cpu) cpus.insert(cpu);
      if (text.empty()) return true;
      if (text[0] != ',') return false;
      text.remove_prefix(1);
    }
  }

  void refer(const std::string& name, const toml::source_position& at, std::string what,
             const std::set<std::string>& among, const char* kind) {
    uses_.push_back({name, at, std::move(what), &among, kind});
  }

  void place(const Named& table, Process process) {
    placed_.push_back({table.at, std::move(process)});
  }

  // --- the tables
  // -----------------------------------------------------------------------------------

  void read_broker(const toml::node& node, Pipeline& pipeline) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      fail(node, "[broker] is a table; write [broker] and its keys on lines of their own");
      return;
    }
    const Named named{"", "[broker]", node.source().begin, *table};
    Process& broker = pipeline.broker;
    read_own(named, broker,
             {{"socket",
               [&](const toml::node& value) {
                 pipeline.socket = read_path(value, "socket of [broker]");
               }},
              path(named, "config", "--config", broker),
              {"start", [&](const toml::node& value) {
                 pipeline.start_broker =
                     static_cast<StartBroker>(read_choice(value, "start", kStarts));
               }}});
  }

  void read_camera(const Named& table, Process& process) {
    process.kind = Kind::camera;
    process.name = "capture-" + table.name;
    process.command = {"sluice-capture", "--name", table.name};
    bool loop = false;
    bool restart_given = table.table.contains("restart");
    std::string source;
    std::vector<std::string>& arguments = process.command;
    read_own(table, process,
             {{"source",
               [&](const toml::node& node) {
                 source = read_source(node, table);
                 Out{arguments}.add("--source", source);
               }},
              whole(table, "width", "--width", 1, 32'768, process),
              whole(table, "height", "--height", 1, 32'768, process),
              whole(table, "rate", "--rate", 1, 1'000, process),
              choice("format", "--format", kFormats, process),
              {"loop",
               [&](const toml::node& node) {
                 loop = read_bool(node, "loop of " + table.where);
                 if (loop) arguments.emplace_back("--loop");
               }},
              whole(table, "depth", "--depth", 1, 1'024, process),
              whole(table, "max_held", "--max-held", 1, 1'024, process),
              whole(table, "latency_ms", "--latency-ms", 0, 60'000, process),
              choice("rtsp_transport", "--rtsp-transport", kTransports, process),
              number(table, "stall_seconds", "--stall-seconds", 0.1, 3'600, process)});
    if (!table.table.contains("source")) {
      fail(table.at,
           table.where + " has no source; add one such as source = \"v4l2:///dev/video0\"");
    }
    // A film that has been shown is not shown again unless somebody says so.
    const bool ends = source.rfind("file:", 0) == 0 || source.rfind("images:", 0) == 0;
    if (!restart_given && ends && !loop) process.restart = Restart::on_failure;
    place(table, std::move(process));
  }

  std::string read_source(const toml::node& node, const Named& table) {
    const std::size_t before = problems();
    std::string source = read_string(node, "source of " + table.where);
    if (problems() != before) return source;
    const std::size_t colon = source.find("://");
    const std::string_view scheme = std::string_view(source).substr(0, colon);
    if (colon == std::string::npos ||
        std::find(kSchemes.begin(), kSchemes.end(), scheme) == kSchemes.end()) {
      fail(node, "source of " + table.where + " is " + shown(source) + "; it begins with one of " +
                     daemon::listed(kSchemes) + " and ://, as \"v4l2:///dev/video0\"");
      return source;
    }
    if (source.find('\0') != std::string::npos) {
      fail(node, "source of " + table.where + " has a zero byte in it; remove that");
      return source;
    }
    const std::string rest = source.substr(colon + 3);
    if ((scheme == "file" || scheme == "images") && (rest.empty() || rest[0] != '/')) {
      const std::size_t query = std::min(rest.find('?'), rest.size());
      source = source.substr(0, colon + 3) + absolute(rest.substr(0, query), folder_) +
               rest.substr(query);
    }
    return source;
  }

  void read_detector(const Named& table, Process& process) {
    process.kind = Kind::detector;
    process.command = {"sluice-detect", "--name", table.name};
    std::string camera = table.name;
    toml::source_position camera_at = table.at;
    std::int64_t workers = 1;
    std::size_t model = 0;
    std::vector<std::string>& arguments = process.command;
    read_own(table, process,
             {{"camera",
               [&](const toml::node& node) {
                 camera = read_string(node, "camera of " + table.where);
                 camera_at = node.source().begin;
               }},
              {"workers",
               [&](const toml::node& node) {
                 workers = read_integer(node, "workers of " + table.where, 1, kMaxWorkers);
               }},
              choice("mode", "--mode", kModes, process),
              {"model",
               [&](const toml::node& node) {
                 model = read_choice(node, "model", kDetectorModels);
                 Out{arguments}.add("--model", kDetectorModels[model]);
               }},
              path(table, "file", "--file", process),
              number(table, "scale", "--scale", 0.01, 1, process),
              number(table, "scale_factor", "--scale-factor", 1.001, 4, process),
              whole(table, "min_neighbors", "--min-neighbors", 0, 1'000, process),
              whole(table, "min_size", "--min-size", 0, 32'768, process),
              whole(table, "max_size", "--max-size", 0, 32'768, process),
              number(table, "threshold", "--threshold", 0, 1'000, process),
              {"roi", [&](const toml::node& node) { read_roi(node, table, arguments); }},
              whole(table, "every", "--every", 1, 1'000'000, process),
              whole(table, "threads", "--threads", 1, 64, process)});
    refer(camera, camera_at, "camera of " + table.where, cameras_, "camera");
    if (workers > 1 && table.table.contains("mode")) {
      fail(*table.table.get("mode"), "mode of " + table.where +
                                         " is for one worker, and these share the frames of their "
                                         "camera; remove mode, or workers");
    }
    if (std::string_view{kDetectorModels[model]} == "yunet" && !table.table.contains("file")) {
      fail(*table.table.get("model"),
           "model \"yunet\" of " + table.where + " has no file; add file = \"….onnx\"");
    }
    Out{arguments}.add("--camera", camera);
    for (std::int64_t k = 1; k <= workers; ++k) {
      Process worker = process;
      worker.name = "detect-" + table.name;
      if (workers > 1) {
        worker.name.append("-").append(std::to_string(k));
        Out{worker.command}.add("--group", table.name);
      }
      Out{worker.command}.add("--node", worker.name);
      holders_.push_back(camera);
      place(table, std::move(worker));
    }
  }

  // [x, y, width, height] in pixels or, all between 0 and 1, in fractions; or as text.
  void read_roi(const toml::node& node, const Named& table, std::vector<std::string>& arguments) {
    const std::string what = "roi of " + table.where;
    const toml::array* array = node.as_array();
    if (array == nullptr || array->size() != 4) {
      fail(node, what + " is four numbers; write [x, y, width, height], in pixels or fractions");
      return;
    }
    std::string text;
    for (const toml::node& element : *array) {
      if (!text.empty()) text += ',';
      text += text_of(read_number(element, "each of " + what, 0, 32'768));
    }
    Out{arguments}.add("--roi", text);
  }

  void read_recognizer(const Named& table, Process& process) {
    process.kind = Kind::recognizer;
    process.name = "recognize-" + table.name;
    process.command = {"sluice-recognize", "--name", table.name};
    std::vector<std::string> detectors;
    std::size_t model = 0;
    std::vector<std::string>& arguments = process.command;
    read_own(table, process,
             {{"detectors",
               [&](const toml::node& node) {
                 read_strings(node, "detectors of " + table.where,
                              [&](const std::string& name, const toml::node& at) {
                                refer(name, at.source().begin, "detectors of " + table.where,
                                      detectors_, "detector");
                                detectors.push_back(name);
                              });
               }},
              path(table, "people", "--people", process),
              {"model",
               [&](const toml::node& node) {
                 model = read_choice(node, "model", kRecognizerModels);
                 Out{arguments}.add("--model", kRecognizerModels[model]);
               }},
              path(table, "file", "--file", process),
              path(table, "load", "--load", process),
              written(table, "save", "--save", process),
              number(table, "threshold", "--threshold", 0, 1'000'000, process),
              number(table, "ratio", "--ratio", 0, 1, process),
              whole(table, "threads", "--threads", 1, 64, process)});
    if (!table.table.contains("detectors")) {
      detectors.assign(detectors_.begin(), detectors_.end());
      if (detectors.empty()) {
        fail(table.at, table.where +
                           " has no detectors, and there are none in the file; add "
                           "[detector.NAME]");
      }
    }
    if (!table.table.contains("people") && !table.table.contains("load")) {
      fail(table.at, table.where + " knows nobody; add people = \"folder or file.toml\", or load");
    }
    if (std::string_view{kRecognizerModels[model]} == "sface" && !table.table.contains("file")) {
      fail(*table.table.get("model"),
           "model \"sface\" of " + table.where + " has no file; add file = \"….onnx\"");
    }
    for (const std::string& detector : detectors) Out{arguments}.add("--detector", detector);
    Out{arguments}.add("--node", process.name);
    resolvers_ += 1;
    place(table, std::move(process));
  }

  void read_annotator(const Named& table, Process& process) {
    process.kind = Kind::annotator;
    process.name = "annotate-" + table.name;
    process.command = {"sluice-annotate", "--name", table.name};
    std::string camera = table.name;
    std::string recognizer = recognizers_.size() == 1 ? *recognizers_.begin() : "";
    toml::source_position camera_at = table.at;
    toml::source_position recognizer_at = table.at;
    read_own(table, process,
             {{"camera",
               [&](const toml::node& node) {
                 camera = read_string(node, "camera of " + table.where);
                 camera_at = node.source().begin;
               }},
              {"recognizer",
               [&](const toml::node& node) {
                 recognizer = read_string(node, "recognizer of " + table.where);
                 recognizer_at = node.source().begin;
               }},
              written(table, "picture", "--picture", process),
              whole(table, "threads", "--threads", 1, 64, process)});
    refer(camera, camera_at, "camera of " + table.where, cameras_, "camera");
    if (recognizer.empty() && !table.table.contains("recognizer")) {
      fail(table.at,
           table.where + " does not say whose results it draws; add recognizer = \"NAME\"");
    } else {
      refer(recognizer, recognizer_at, "recognizer of " + table.where, recognizers_, "recognizer");
    }
    Out out{process.command};
    out.add("--camera", camera);
    out.add("--recognizer", recognizer);
    out.add("--node", process.name);
    holders_.push_back(camera);
    place(table, std::move(process));
  }

  void read_process(const Named& table, Process& process) {
    process.kind = Kind::process;
    process.name = table.name;
    read_own(
        table, process,
        {{"command", [&](const toml::node& node) { read_command(node, table, process); }},
         {"working_directory",
          [&](const toml::node& node) {
            process.working_directory = read_path(node, "working_directory of " + table.where);
          }},
         {"environment", [&](const toml::node& node) { read_environment(node, table, process); }}});
    if (!table.table.contains("command")) {
      fail(table.at, table.where + " has no command; add command = [\"PROGRAM\", \"ARGUMENT\", …]");
    }
    place(table, std::move(process));
  }

  void read_command(const toml::node& node, const Named& table, Process& process) {
    const std::string what = "command of " + table.where;
    const toml::array* array = node.as_array();
    if (array == nullptr || array->empty()) {
      fail(node, what + " is an array of strings; write [\"PROGRAM\", \"ARGUMENT\", …]");
      return;
    }
    for (const toml::node& element : *array) {
      std::string word = read_string(element, "each of " + what);
      if (word.find('\0') != std::string::npos) {
        fail(element, what + " has a word with a zero byte in it; remove that");
      }
      process.command.push_back(std::move(word));
    }
    std::string& program = process.command.front();
    if (program.empty()) {
      fail(*array->get(0), what + " names no program; write its name or path first");
    } else if (program.find('/') != std::string::npos) {
      program = absolute(program, folder_);
    }
  }

  void read_environment(const toml::node& node, const Named& table, Process& process) {
    const std::string what = "environment of " + table.where;
    const toml::table* variables = node.as_table();
    if (variables == nullptr) {
      fail(node, what + " is a table of strings; write { NAME = \"value\" }");
      return;
    }
    for (const auto& [key, value] : *variables) {
      const std::string name(key.str());
      const std::string text = read_string(value, shown(name) + " in " + what);
      if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos ||
          text.find('\0') != std::string::npos) {
        fail(key.source().begin, shown(name) + " in " + what +
                                     " cannot be a variable; write a name without '=', and text "
                                     "without zero bytes");
      }
      process.environment.emplace_back(name, text);
    }
  }

  // --- all of them together
  // ---------------------------------------------------------------------------

  void check_uses() {
    for (const Use& use : uses_) {
      if (use.among->count(use.name) != 0) continue;
      const std::vector<std::string> known(use.among->begin(), use.among->end());
      const std::string remedy =
          known.empty() ? "add [" + std::string(use.kind) + "." + use.name + "]"
                        : "there is " + daemon::listed(known) + "; choose among them, or add [" +
                              std::string(use.kind) + "." + use.name + "]";
      fail(use.at, use.what + " is " + shown(use.name) + ", which is not in the file; " + remedy);
    }
  }

  // "detect-hall-2" may be the second of hall's workers, or hall-2's only one.
  void check_names() {
    std::map<std::string, toml::source_position> seen;
    for (const Placed& placed : placed_) {
      const auto [at, added] = seen.emplace(placed.process.name, placed.at);
      if (added) continue;
      fail(std::max(at->second, placed.at, [](const auto& a, const auto& b) { return a < b; }),
           "two processes would be called " + shown(placed.process.name) +
               "; rename one of their tables");
    }
  }

  // A camera plans for what all of its subscriptions may hold: where its default would not do, it
  // is told. Slots take memory only when they are used, so there is some to spare.
  void plan_holders() {
    constexpr std::size_t kDefault = 256;  // sluice-capture's
    constexpr std::size_t kSpare = 16;
    constexpr std::size_t kEach = 15;  // what a detector or recognizer asks for (docs/vision.md)
    constexpr std::size_t kMost = 1'024;
    for (Placed& placed : placed_) {
      Process& process = placed.process;
      const auto& command = process.command;
      if (process.kind != Kind::camera ||
          std::find(command.begin(), command.end(), "--max-held") != command.end()) {
        continue;
      }
      const auto own =
          static_cast<std::size_t>(std::count(holders_.begin(), holders_.end(), process.table));
      const std::size_t needed = std::min(kSpare + kEach * (own + resolvers_), kMost);
      if (needed > kDefault) Out{process.command}.add("--max-held", std::to_string(needed));
    }
  }

  std::string folder_;
  std::string output_;
  std::set<std::string> cameras_;
  std::set<std::string> detectors_;
  std::set<std::string> recognizers_;
  std::vector<Use> uses_;
  std::vector<Placed> placed_;
  std::vector<std::string> holders_;  // cameras, once for each process that holds their frames
  std::size_t resolvers_ = 0;         // recognizers, which hold frames of any
};

}  // namespace

Result<Pipeline> parse_pipeline(std::string_view text, const std::string& source_name,
                                const std::string& folder, const std::string& output) {
  Reader reader(source_name, folder, output.empty() ? folder : output);
  return daemon::read_toml(text, reader, source_name);
}

Result<Pipeline> load_pipeline(const std::string& path, const std::string& output) {
  auto text = daemon::load_toml(path, "the pipeline");
  if (!text) return std::move(text).error();
  std::error_code code;
  const auto folder = std::filesystem::absolute(path, code).parent_path();
  const auto to = output.empty() ? folder : std::filesystem::absolute(output, code);
  return parse_pipeline(*text, path, folder.string(), to.string());
}

}  // namespace sluice::run
