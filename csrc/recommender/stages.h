// Where the time of a request goes: a clock that is read between stages.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace mmgrec {

struct Stage {
  std::string name;
  double seconds = 0;
  double flops = 0;
  double bytes = 0;  // of weights and of rows read and written
};

class Stages {
 public:
  enum Encode : size_t { kUser, kProject, kAttention, kOut, kEncodeForward, kMemory, kEncodeCount };
  enum Level : size_t { kSelf, kCross, kForward, kHead, kTrie, kLevelCount };

  explicit Stages(size_t levels) {
    const char* encode[] = {"encode user",   "encode projection",   "encode attention",
                            "encode output", "encode feed-forward", "decoder memory"};
    const char* level[] = {"self-attention", "cross-attention", "feed-forward", "head", "trie"};
    for (const char* name : encode) stages_.push_back({name});
    for (size_t t = 0; t < levels; ++t) {
      for (const char* name : level) stages_.push_back({"level " + std::to_string(t) + " " + name});
    }
    stages_.push_back({"rest"});
  }
  static size_t at(size_t level, Level stage) { return kEncodeCount + level * kLevelCount + stage; }

  void add(double flops, double bytes) {
    flops_ += flops;
    bytes_ += bytes;
  }
  // What happened since the last lap belongs to this stage.
  void lap(size_t stage) {
    const Clock::time_point now = Clock::now();
    stages_[stage].seconds += std::chrono::duration<double>(now - last_).count();
    stages_[stage].flops += flops_;
    stages_[stage].bytes += bytes_;
    flops_ = bytes_ = 0;
    last_ = now;
  }
  size_t rest() const { return stages_.size() - 1; }
  const std::vector<Stage>& all() const { return stages_; }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Stage> stages_;
  Clock::time_point last_ = Clock::now();
  double flops_ = 0, bytes_ = 0;
};

}  // namespace mmgrec
