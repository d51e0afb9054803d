// A catalogue that changes while it is searched.
//
//   readers: snapshot() at any time, from any thread; what they hold never changes
//   one writer at a time (the caller sees to that) makes the next snapshot and swaps it in:
//     prepare(edits)            everything that can fail, on a copy of the small parts
//     ... make it durable ...
//     publish(prepared)         one pointer
//   compaction: begin, job.run() in any thread while edits go on, finish (replays those edits)
//
// A mutex guards the one pointer and is held for its copy only: nobody waits for work.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "live/compaction.h"
#include "live/edit.h"
#include "live/snapshot.h"

namespace mmgrec {

// A next state, not yet visible.
struct Prepared {
  std::shared_ptr<const Snapshot> before;
  std::shared_ptr<const Snapshot> after;
  std::vector<Edit> edits;  // every id filled in
  bool compacted = false;
};

class LiveCatalog {
 public:
  explicit LiveCatalog(std::shared_ptr<const Base> base);

  std::shared_ptr<const Snapshot> snapshot() const;

  // The state after `edits`, made one after the other. Throws EditError, all or nothing.
  Prepared prepare(std::span<const Edit> edits);
  // Throws std::logic_error when another state was published since `prepared` was made.
  void publish(Prepared prepared);
  void apply(std::span<const Edit> edits) { publish(prepare(edits)); }

  // One compaction at a time; std::logic_error otherwise.
  std::shared_ptr<CompactionJob> begin_compaction();
  // The state on the job's new base, with the edits published since it began.
  Prepared prepare_compacted(const CompactionJob& job) const;
  void finish_compaction(const CompactionJob& job) { publish(prepare_compacted(job)); }
  void abandon_compaction();

 private:
  mutable std::mutex mutex_;  // of current_
  std::shared_ptr<const Snapshot> current_;
  bool compacting_ = false;
  std::vector<Edit> since_;  // what came since the compaction began
};

}  // namespace mmgrec
