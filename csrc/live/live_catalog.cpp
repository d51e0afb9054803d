#include "live/live_catalog.h"

#include <stdexcept>
#include <utility>

#include "live/overlay.h"

namespace mmgrec {

LiveCatalog::LiveCatalog(std::shared_ptr<const Base> base)
    : current_(std::make_shared<const Snapshot>(std::move(base))) {}

std::shared_ptr<const Snapshot> LiveCatalog::snapshot() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

Prepared LiveCatalog::prepare(std::span<const Edit> edits) {
  Prepared prepared;
  prepared.before = snapshot();
  prepared.edits.assign(edits.begin(), edits.end());
  Overlay overlay(prepared.before, edits.size());
  for (size_t i = 0; i < edits.size(); ++i) overlay.make(prepared.edits[i], i);
  prepared.after = overlay.snapshot();
  // Publishing must not fail for want of memory: the edits may be durable by then.
  if (compacting_ && since_.capacity() < since_.size() + edits.size()) {
    since_.reserve(2 * since_.size() + edits.size());
  }
  return prepared;
}

void LiveCatalog::publish(Prepared prepared) {
  if (snapshot() != prepared.before) throw std::logic_error("another state was published since");
  if (prepared.compacted) {
    abandon_compaction();
  } else if (compacting_) {
    since_.insert(since_.end(), prepared.edits.begin(), prepared.edits.end());
  }
  const std::lock_guard lock(mutex_);
  // The old state goes with `prepared`, after the lock: freeing it may take a while.
  current_.swap(prepared.after);
}

std::shared_ptr<CompactionJob> LiveCatalog::begin_compaction() {
  if (compacting_) throw std::logic_error("a compaction is under way");
  auto job = std::make_shared<CompactionJob>(snapshot());
  compacting_ = true;
  return job;
}

Prepared LiveCatalog::prepare_compacted(const CompactionJob& job) const {
  if (!compacting_ || job.base() == nullptr) throw std::logic_error("no compaction has run");
  Prepared prepared;
  prepared.before = snapshot();
  prepared.compacted = true;
  Overlay overlay(std::make_shared<const Snapshot>(job.base()), since_.size());
  std::vector<Edit> replayed = since_;
  for (size_t i = 0; i < replayed.size(); ++i) overlay.make(replayed[i], i);
  prepared.after = overlay.snapshot();
  return prepared;
}

void LiveCatalog::abandon_compaction() {
  compacting_ = false;
  since_.clear();
}

}  // namespace mmgrec
