#include "live/added_leaves.h"

#include <algorithm>
#include <cstring>

#include "live/leaves.h"

namespace mmgrec {
namespace {

// At place `at` of the old array: one element goes, one comes, or both.
struct Step {
  uint32_t at;
  bool drops;
  const AddedLeaves::Change* puts;
};

std::vector<Step> steps_of(const TrieView& old, std::span<const AddedLeaves::Change> changes) {
  std::vector<Step> steps;
  for (const AddedLeaves::Change& change : changes) {
    const Place at = place(old, change.tuple);
    const bool puts = change.id.has_value();
    if (at.found || puts) steps.push_back({at.rank, at.found, puts ? &change : nullptr});
  }
  return steps;
}

// Copies what lies between the steps in one go each.
template <class T, class Value>
void splice(std::span<const Step> steps, const T* from, size_t count, T* to, Value value_of) {
  size_t read = 0;
  for (const Step& step : steps) {
    to = std::copy(from + read, from + step.at, to);
    read = step.at + (step.drops ? 1 : 0);
    if (step.puts != nullptr) *to++ = value_of(*step.puts);
  }
  std::copy(from + read, from + count, to);
}

}  // namespace

AddedLeaves::AddedLeaves(std::span<const uint32_t> level_sizes) {
  shape_.levels = static_cast<uint32_t>(level_sizes.size());
  std::ranges::copy(level_sizes, shape_.level_sizes);
}

AddedLeaves AddedLeaves::with(std::span<const Change> changes) const {
  const TrieView old = view();
  const std::vector<Step> steps = steps_of(old, changes);
  size_t items = old.items;
  for (const Step& step : steps) items = items - step.drops + (step.puts != nullptr);

  AddedLeaves next({shape_.level_sizes, shape_.levels});
  next.shape_.items = static_cast<uint32_t>(items);
  next.ids_.resize(items);
  splice(std::span<const Step>(steps), ids_.data(), ids_.size(), next.ids_.data(),
         [](const Change& change) { return *change.id; });
  for (size_t level = 0; level < shape_.levels; ++level) {
    const auto fill = [&]<class Token>(const Token* from) {
      next.tokens_[level].resize(items * sizeof(Token));
      splice(std::span<const Step>(steps), from, old.items,
             reinterpret_cast<Token*>(next.tokens_[level].data()),
             [level](const Change& change) { return static_cast<Token>(change.tuple[level]); });
    };
    if (old.wide(level)) {
      fill(old.words(level));
    } else {
      fill(old.bytes(level));
    }
  }
  return next;
}

TrieView AddedLeaves::view() const {
  TrieView view = shape_;
  for (size_t level = 0; level < view.levels; ++level) view.tokens[level] = tokens_[level].data();
  return view;
}

}  // namespace mmgrec
