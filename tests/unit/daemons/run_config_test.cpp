#include "daemons/run/pipeline_file.hpp"
#include "daemons/run/programs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::run {
namespace {

using Words = std::vector<std::string>;

Result<Pipeline> parse(std::string_view text) {
  return parse_pipeline(text, "x.toml", "/home/me/cams");
}

Pipeline good(std::string_view text) {
  auto pipeline = parse(text);
  if (pipeline) return std::move(*pipeline);
  ADD_FAILURE() << pipeline.error().message;
  return {};
}

// The place and a part of the sentence.
void expect_wrong(std::string_view text, const std::string& place, const std::string& part) {
  const auto pipeline = parse(text);
  ASSERT_FALSE(pipeline) << text;
  EXPECT_EQ(pipeline.error().code, Errc::invalid_argument);
  const std::string& message = pipeline.error().message;
  EXPECT_EQ(message.rfind("x.toml:" + place + ": ", 0), 0u) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

// The value of an option; "-" when it is not there.
std::string option(const Process& process, const std::string& name) {
  const auto at = std::find(process.command.begin(), process.command.end(), name);
  return at != process.command.end() && at + 1 != process.command.end() ? at[1] : "-";
}

constexpr const char* kCamera = "[camera.hall]\nsource = \"test://\"\n";

TEST(PipelineFile, AnEmptyOneHasNothingToRun) {
  const Pipeline pipeline = good("");
  EXPECT_TRUE(pipeline.processes.empty());
  EXPECT_EQ(pipeline.start_broker, StartBroker::automatic);
  EXPECT_EQ(pipeline.broker.command, (Words{"sluiced"}));
}

TEST(PipelineFile, ProcessesAreInTheOrderOfTheFile) {
  const Pipeline pipeline = good(R"(
[recognizer.people]
people = "faces"
[camera.zoo]
source = "v4l2:///dev/video0"
[process.a]
command = ["x"]
[detector.zoo]
[annotator.zoo]
[camera.hall]
source = "rtsp://127.0.0.1/x"
)");
  Words names;
  for (const Process& process : pipeline.processes) names.push_back(process.name);
  EXPECT_EQ(names, (Words{"recognize-people", "capture-zoo", "a", "detect-zoo", "annotate-zoo",
                          "capture-hall"}));
}

TEST(PipelineFile, EveryKeyOfACameraIsAnOption) {
  const Process camera = good(R"(
[camera.hall]
source = "v4l2:///dev/video0"
width = 1280
height = 720
rate = 30
format = "NV12"
loop = true
depth = 6
max_held = 40
latency_ms = 50
rtsp_transport = "udp"
stall_seconds = 2.5
restart = "on-failure"
nice = 5
cpus = "0-2,5"
)")
                             .processes.at(0);
  EXPECT_EQ(camera.command[0], "sluice-capture");
  EXPECT_EQ(option(camera, "--name"), "hall");
  EXPECT_EQ(option(camera, "--source"), "v4l2:///dev/video0");
  EXPECT_EQ(option(camera, "--width"), "1280");
  EXPECT_EQ(option(camera, "--height"), "720");
  EXPECT_EQ(option(camera, "--rate"), "30");
  EXPECT_EQ(option(camera, "--format"), "NV12");
  EXPECT_NE(option(camera, "--loop"), "-");
  EXPECT_EQ(option(camera, "--depth"), "6");
  EXPECT_EQ(option(camera, "--max-held"), "40");
  EXPECT_EQ(option(camera, "--latency-ms"), "50");
  EXPECT_EQ(option(camera, "--rtsp-transport"), "udp");
  EXPECT_EQ(option(camera, "--stall-seconds"), "2.5");
  EXPECT_EQ(camera.restart, Restart::on_failure);
  EXPECT_EQ(camera.nice, 5);
  EXPECT_EQ(camera.cpus, (std::vector<unsigned>{0, 1, 2, 5}));
}

TEST(PipelineFile, EveryKeyOfADetectorIsAnOption) {
  const Process detector = good(std::string(kCamera) + R"(
[detector.door]
camera = "hall"
mode = "next"
model = "haar"
file = "models/cascade.xml"
scale = 0.5
scale_factor = 1.05
min_neighbors = 3
min_size = 24
max_size = 400
threshold = 0.25
roi = [0, 0.5, 1, 0.5]
every = 2
threads = 2
)")
                               .processes.at(1);
  EXPECT_EQ(detector.command[0], "sluice-detect");
  EXPECT_EQ(option(detector, "--name"), "door");
  EXPECT_EQ(option(detector, "--node"), "detect-door");
  EXPECT_EQ(option(detector, "--camera"), "hall");
  EXPECT_EQ(option(detector, "--group"), "-");
  EXPECT_EQ(option(detector, "--mode"), "next");
  EXPECT_EQ(option(detector, "--model"), "haar");
  EXPECT_EQ(option(detector, "--file"), "/home/me/cams/models/cascade.xml");
  EXPECT_EQ(option(detector, "--scale"), "0.5");
  EXPECT_EQ(option(detector, "--scale-factor"), "1.05");
  EXPECT_EQ(option(detector, "--min-neighbors"), "3");
  EXPECT_EQ(option(detector, "--min-size"), "24");
  EXPECT_EQ(option(detector, "--max-size"), "400");
  EXPECT_EQ(option(detector, "--threshold"), "0.25");
  EXPECT_EQ(option(detector, "--roi"), "0,0.5,1,0.5");
  EXPECT_EQ(option(detector, "--every"), "2");
  EXPECT_EQ(option(detector, "--threads"), "2");
}

TEST(PipelineFile, WorkersShareTheCameraOfTheirName) {
  const Pipeline pipeline = good(std::string(kCamera) + "[detector.hall]\nworkers = 3\n");
  ASSERT_EQ(pipeline.processes.size(), 4u);
  for (std::size_t k = 1; k <= 3; ++k) {
    const Process& worker = pipeline.processes[k];
    EXPECT_EQ(worker.name, "detect-hall-" + std::to_string(k));
    EXPECT_EQ(option(worker, "--node"), worker.name);
    EXPECT_EQ(option(worker, "--camera"), "hall");
    EXPECT_EQ(option(worker, "--group"), "hall");
  }
}

TEST(PipelineFile, ACameraWithManyHoldersIsTold) {
  EXPECT_EQ(option(good(kCamera).processes[0], "--max-held"), "-");
  const Pipeline some = good(std::string(kCamera) + "[detector.hall]\nworkers = 16\n");
  EXPECT_EQ(option(some.processes[0], "--max-held"), "-")
      << "16 x 15 and some are no more than the default";
  const Pipeline many = good(std::string(kCamera) + "[detector.hall]\nworkers = 20\n");
  EXPECT_EQ(option(many.processes[0], "--max-held"), "316");
  const Pipeline told =
      good(std::string(kCamera) + "max_held = 20\n[detector.hall]\nworkers = 8\n");
  EXPECT_EQ(option(told.processes[0], "--max-held"), "20");
}

TEST(PipelineFile, RecognizersTakeAllDetectorsOrThoseThatAreNamed) {
  const std::string base =
      std::string(kCamera) + "[detector.hall]\n[detector.b]\ncamera=\"hall\"\n";
  const Process all = good(base + "[recognizer.people]\npeople = \"faces\"\n").processes.at(3);
  EXPECT_EQ(std::count(all.command.begin(), all.command.end(), "--detector"), 2);
  EXPECT_EQ(option(all, "--people"), "/home/me/cams/faces");
  const Process one =
      good(base +
           "[recognizer.people]\ndetectors = \"b\"\nload = \"/var/x.yml\"\nsave = \"y.yml\"\n"
           "model = \"sface\"\nfile = \"m.onnx\"\nthreshold = 110\nratio = 0.8\n")
          .processes.at(3);
  EXPECT_EQ(std::count(one.command.begin(), one.command.end(), "--detector"), 1);
  EXPECT_EQ(option(one, "--detector"), "b");
  EXPECT_EQ(option(one, "--load"), "/var/x.yml");
  EXPECT_EQ(option(one, "--save"), "/home/me/cams/y.yml");
  EXPECT_EQ(option(one, "--model"), "sface");
  EXPECT_EQ(option(one, "--file"), "/home/me/cams/m.onnx");
  EXPECT_EQ(option(one, "--threshold"), "110");
  EXPECT_EQ(option(one, "--ratio"), "0.8");
}

TEST(PipelineFile, AnnotatorsTakeTheOnlyRecognizer) {
  const Process annotator =
      good(std::string(kCamera) +
           "[detector.hall]\n[recognizer.people]\npeople = \"faces\"\n[annotator.hall]\n"
           "picture = \"out/../seen.jpg\"\n")
          .processes.at(3);
  EXPECT_EQ(annotator.command[0], "sluice-annotate");
  EXPECT_EQ(option(annotator, "--camera"), "hall");
  EXPECT_EQ(option(annotator, "--recognizer"), "people");
  EXPECT_EQ(option(annotator, "--picture"), "/home/me/cams/seen.jpg");
}

TEST(PipelineFile, AnythingElseIsACommand) {
  const Pipeline pipeline = good(R"(
[process.server]
command = ["./serve", "--port", "80"]
working_directory = "www"
environment = { LANG = "C", EMPTY = "" }
restart = "never"
nice = -5
cpus = [3, 1]
[process.other]
command = ["python3"]
cpus = 2
)");
  const Process& server = pipeline.processes.at(0);
  EXPECT_EQ(server.command, (Words{"/home/me/cams/serve", "--port", "80"}));
  EXPECT_EQ(server.working_directory, "/home/me/cams/www");
  ASSERT_EQ(server.environment.size(), 2u);
  EXPECT_EQ(server.environment[1], (std::pair<std::string, std::string>{"LANG", "C"}));
  EXPECT_EQ(server.restart, Restart::never);
  EXPECT_EQ(server.nice, -5);
  EXPECT_EQ(server.cpus, (std::vector<unsigned>{1, 3}));
  EXPECT_EQ(pipeline.processes.at(1).command, (Words{"python3"})) << "to be looked for";
  EXPECT_EQ(pipeline.processes.at(1).restart, Restart::always);
  EXPECT_EQ(pipeline.processes.at(1).cpus, (std::vector<unsigned>{2}));
}

TEST(PipelineFile, TheBrokersTable) {
  const Pipeline pipeline = good(
      "[broker]\nsocket = \"b.sock\"\nconfig = \"/etc/b.toml\"\nstart = \"never\"\nnice = 1\n");
  EXPECT_EQ(pipeline.socket, "/home/me/cams/b.sock");
  EXPECT_EQ(pipeline.start_broker, StartBroker::never);
  EXPECT_EQ(option(pipeline.broker, "--config"), "/etc/b.toml");
  EXPECT_EQ(pipeline.broker.nice, 1);
}

TEST(PipelineFile, SourcesMayBeRelativeToTheFile) {
  const auto source = [](const std::string& text) {
    return option(good("[camera.a]\nsource = \"" + text + "\"\n").processes.at(0), "--source");
  };
  EXPECT_EQ(source("file://clips/a.mp4"), "file:///home/me/cams/clips/a.mp4");
  EXPECT_EQ(source("images://../p?motion=pan&scale=1/2"),
            "images:///home/me/p?motion=pan&scale=1/2");
  EXPECT_EQ(source("file:///a/b.mp4"), "file:///a/b.mp4");
  EXPECT_EQ(source("libcamera://"), "libcamera://");
  EXPECT_EQ(source("rtsp://host/a"), "rtsp://host/a");
  EXPECT_EQ(source("rtsps://host/a"), "rtsps://host/a");
}

TEST(PipelineFile, AFilmThatEndsIsNotShownAgainByItself) {
  const auto restart = [](const std::string& keys) {
    return good("[camera.a]\n" + keys).processes.at(0).restart;
  };
  EXPECT_EQ(restart("source = \"file:///a.mp4\"\n"), Restart::on_failure);
  EXPECT_EQ(restart("source = \"file:///a.mp4\"\nloop = true\n"), Restart::always);
  EXPECT_EQ(restart("source = \"file:///a.mp4\"\nrestart = \"always\"\n"), Restart::always);
  EXPECT_EQ(restart("source = \"v4l2:///dev/video0\"\n"), Restart::always);
}

TEST(PipelineFile, WhatIsNotKnownIsRefused) {
  expect_wrong("[camera.a]\nsource = \"test://\"\nwidht = 3\n", "3:1", "there is no key 'widht'");
  expect_wrong("[cameras.a]\nsource = \"test://\"\n", "1:2", "there is no key 'cameras'");
  expect_wrong("[broker]\nport = 1\n", "2:1", "there is no key 'port' in [broker]");
  expect_wrong("x = \n", "1:5", "correct the TOML");
  expect_wrong("[camera.a]\nsource = \"test://\"\n[camera.a]\n", "3:1", "correct the TOML");
}

TEST(PipelineFile, WrongTypesAreRefused) {
  const std::string c = "[camera.a]\nsource = \"test://\"\n";
  expect_wrong("camera = 3\n", "1:10", "write [camera.NAME]");
  expect_wrong("[camera]\nsource = \"test://\"\n", "2:1", "write [camera.NAME]");
  expect_wrong("broker = true\n", "1:10", "[broker]");
  expect_wrong(c + "width = \"3\"\n", "3:9",
               "width of [camera.a] is a whole number from 1 to 32768");
  expect_wrong(c + "width = 0\n", "3:9", "from 1 to 32768");
  expect_wrong(c + "rate = 29.97\n", "3:8", "whole number");
  expect_wrong(c + "loop = 1\n", "3:8", "true or false");
  expect_wrong(c + "format = \"XYZ\"\n", "3:10", "choose among any, NV12");
  expect_wrong(c + "stall_seconds = 0\n", "3:17", "a number from 0.1 to 3600");
  expect_wrong(c + "stall_seconds = nan\n", "3:17", "a number from 0.1 to 3600");
  expect_wrong(c + "restart = \"sometimes\"\n", "3:11",
               "there is no restart 'sometimes'; choose among always, on-failure and never");
  expect_wrong(c + "nice = 20\n", "3:8", "from -20 to 19");
  for (const char* cpus : {"[]", "\"\"", "\"a\"", "\"3-1\"", "\"1,\"", "\"1-\"", "\"99999\""}) {
    expect_wrong(c + "cpus = " + cpus + "\n", "3:8", "names no processors");
  }
  expect_wrong(c + "cpus = [0, -1]\n", "3:12", "from 0 to 1023");
  expect_wrong("[camera.a]\nsource = 3\n", "2:10", "source of [camera.a] is a string");
}

TEST(PipelineFile, SourcesAndNamesThatCannotBeAreRefused) {
  expect_wrong("[camera.a]\n", "1:9", "[camera.a] has no source; add one such as");
  expect_wrong("[camera.a]\nsource = \"/dev/video0\"\n", "2:10", "begins with one of v4l2");
  expect_wrong("[camera.a]\nsource = \"http://x/y\"\n", "2:10", "begins with one of");
  expect_wrong("[camera.a]\nsource = \"test://\\u0000\"\n", "2:10", "has a zero byte in it");
  for (const char* name : {"a/b", "#", "-x", "a b", "", "$a", "12345678901234567890123456789012"}) {
    expect_wrong("[camera.\"" + std::string(name) + "\"]\nsource = \"test://\"\n", "1:9",
                 "cannot be a level of a topic");
  }
}

TEST(PipelineFile, ReferencesLeadToWhatIsInTheFile) {
  const std::string c = kCamera;  // two lines
  expect_wrong(c + "[detector.door]\n", "3:11",
               "camera of [detector.door] is 'door', which is not in the file; there is hall");
  expect_wrong(c + "[detector.door]\ncamera = \"hal\"\n", "4:10",
               "'hal', which is not in the file");
  expect_wrong("[detector.door]\n", "1:11", "add [camera.door]");
  expect_wrong(c + "[recognizer.p]\npeople = \"x\"\n", "3:13", "add [detector.NAME]");
  expect_wrong(
      c + "[detector.hall]\n[recognizer.p]\npeople = \"x\"\ndetectors = [\"hall\", \"y\"]\n",
      "6:22", "detectors of [recognizer.p] is 'y', which is not in the file");
  expect_wrong(c + "[detector.hall]\n[recognizer.p]\npeople = \"x\"\ndetectors = []\n", "6:13",
               "name at least one");
  expect_wrong(c + "[annotator.hall]\n", "3:12", "does not say whose results it draws");
  expect_wrong(c + "[annotator.hall]\nrecognizer = \"p\"\n", "4:14", "add [recognizer.p]");
}

TEST(PipelineFile, WhatDoesNotGoTogetherIsRefused) {
  const std::string c = kCamera;
  expect_wrong(c + "[detector.hall]\nworkers = 2\nmode = \"next\"\n", "5:8", "is for one worker");
  expect_wrong(c + "[detector.hall]\nworkers = 65\n", "4:11", "from 1 to 64");
  expect_wrong(c + "[detector.hall]\nmodel = \"yunet\"\n", "4:9", "has no file");
  expect_wrong(c + "[detector.hall]\nmodel = \"x\"\n", "4:9",
               "choose among lbp, haar, hog and yunet");
  expect_wrong(c + "[detector.hall]\nroi = [1, 2]\n", "4:7", "is four numbers");
  expect_wrong(c + "[detector.hall]\nroi = [1, 2, 3, \"4\"]\n", "4:17", "is a number");
  expect_wrong(c + "[detector.hall]\n[recognizer.p]\n", "4:13", "knows nobody");
  expect_wrong(c + "[detector.hall]\n[recognizer.p]\npeople = \"x\"\nmodel = \"sface\"\n", "6:9",
               "has no file");
  expect_wrong(c + "[detector.hall]\nfile = \"\"\n", "4:8", "write a path");
  // "detect-hall-2" twice.
  expect_wrong(c + "[detector.hall]\nworkers = 2\n[detector.hall-2]\ncamera = \"hall\"\n", "5:11",
               "two processes would be called 'detect-hall-2'");
}

TEST(PipelineFile, CommandsThatCannotBeAreRefused) {
  expect_wrong("[process.a]\n", "1:10", "has no command");
  expect_wrong("[process.a]\ncommand = \"ls -l\"\n", "2:11", "is an array of strings");
  expect_wrong("[process.a]\ncommand = []\n", "2:11", "is an array of strings");
  expect_wrong("[process.a]\ncommand = [\"ls\", 3]\n", "2:18", "is a string");
  expect_wrong("[process.a]\ncommand = [\"\"]\n", "2:12", "names no program");
  expect_wrong("[process.a]\ncommand = [\"a\\u0000b\"]\n", "2:12", "zero byte");
  expect_wrong("[process.a]\ncommand = [\"a\"]\nenvironment = [\"A=b\"]\n", "3:15",
               "write { NAME = \"value\" }");
  expect_wrong("[process.a]\ncommand = [\"a\"]\nenvironment = { A = 3 }\n", "3:21", "is a string");
  expect_wrong("[process.a]\ncommand = [\"a\"]\nenvironment = { \"A=\" = \"\" }\n", "3:17",
               "cannot be a variable");
}

TEST(PipelineFile, WhatIsWrittenMayHaveAFolderOfItsOwn) {
  const std::string text =
      "[camera.a]\nsource = \"file://film.mkv\"\n[detector.a]\nfile = \"face.xml\"\n"
      "[recognizer.r]\npeople = \"faces\"\nsave = \"sub/r.yml\"\n"
      "[annotator.a]\npicture = \"a.jpg\"\n";
  const auto pipeline = parse_pipeline(text, "x.toml", "/home/me/cams", "/var/out");
  ASSERT_TRUE(pipeline) << pipeline.error().message;
  ASSERT_EQ(pipeline->processes.size(), 4u);
  EXPECT_EQ(option(pipeline->processes[0], "--source"), "file:///home/me/cams/film.mkv");
  EXPECT_EQ(option(pipeline->processes[1], "--file"), "/home/me/cams/face.xml");
  EXPECT_EQ(option(pipeline->processes[2], "--people"), "/home/me/cams/faces");
  EXPECT_EQ(option(pipeline->processes[2], "--save"), "/var/out/sub/r.yml");
  EXPECT_EQ(option(pipeline->processes[3], "--picture"), "/var/out/a.jpg");

  const auto without = parse_pipeline(text, "x.toml", "/home/me/cams");
  ASSERT_TRUE(without);
  EXPECT_EQ(option(without->processes[2], "--save"), "/home/me/cams/sub/r.yml");
  EXPECT_EQ(option(without->processes[3], "--picture"), "/home/me/cams/a.jpg");
}

TEST(PipelineFile, AFileThatIsNotThereIsNamed) {
  const auto pipeline = load_pipeline("/nonexistent/pipeline.toml");
  ASSERT_FALSE(pipeline);
  EXPECT_EQ(pipeline.error().code, Errc::system);
  EXPECT_NE(pipeline.error().message.find("/nonexistent/pipeline.toml"), std::string::npos);
}

TEST(Programs, AreFoundInPathOrTheErrorSaysWhere) {
  const auto sh = find_program("sh");
  ASSERT_TRUE(sh) << sh.error().message;
  EXPECT_EQ(sh->front(), '/');
  const auto none = find_program("no-such-program-anywhere");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("PATH"), std::string::npos) << none.error().message;
  EXPECT_FALSE(find_program("/etc/passwd")) << "not to be run";
  EXPECT_FALSE(find_program("/tmp")) << "a folder";
}

TEST(Programs, CommandLinesCanBePastedIntoAShell) {
  EXPECT_EQ(shell_text({"/bin/echo", "a b", "", "it's", "--x=1,2"}),
            "/bin/echo 'a b' '' 'it'\\''s' --x=1,2");
}

}  // namespace
}  // namespace sluice::run
