// Making one new base of a snapshot: the long part of a compaction, which needs no lock.
#pragma once

#include <memory>

#include "live/snapshot.h"

namespace mmgrec {

class CompactionJob {
 public:
  explicit CompactionJob(std::shared_ptr<const Snapshot> snapshot)
      : snapshot_(std::move(snapshot)) {}

  void run();
  // Null until run() has ended.
  const std::shared_ptr<const Base>& base() const { return base_; }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
  std::shared_ptr<const Base> base_;
};

}  // namespace mmgrec
