#include "recommender/prefixes.h"

#include <algorithm>
#include <array>
#include <utility>

#include "recommender/decoder.h"

namespace mmgrec {
namespace {

// Prefixes of one user that are decoded together.
constexpr size_t kDecodeRows = 48;

// Prefixes [first, last) of one user, level by level. Neighbours that begin with the same tokens
// share their rows of earlier levels.
class PrefixRun {
 public:
  PrefixRun(const PrefixBatch& batch, size_t first, size_t last)
      : batch_(batch), first_(first), count_(last - first) {}

  void decode(const Model& model, const UserMemory& memory, float* logits, float* query) const {
    Carver count;
    Decoder(count, model, count_, memory.length);
    count.take<size_t>(count_);
    count.take<size_t>(count_);
    Carver cut(thread_arena(count.bytes()));
    Decoder decoder(cut, model, count_, memory.length);
    size_t* row_of = cut.take<size_t>(count_);  // each prefix's row of the level
    size_t* parent = cut.take<size_t>(count_);  // each row's parent
    std::fill_n(row_of, count_, size_t{0});
    const Context context{model};
    decoder.begin();
    for (size_t t = 0; t < batch_.tokens; ++t) {
      decoder.step(context, memory);
      grow(decoder, t, row_of, parent);
    }
    decoder.step(context, memory);
    decoder.head(context, memory, logits, query);
    if (batch_.tokens > 0) return;
    // Empty prefixes share their one row.
    const RecommenderShape& shape = model.shape();
    for (size_t i = 1; i < count_; ++i) {
      std::copy_n(logits, shape.level_sizes[0], logits + i * shape.level_sizes[0]);
      if (query != nullptr) std::copy_n(query, shape.item_width, query + i * shape.item_width);
    }
  }

 private:
  int64_t token(size_t i, size_t t) const {
    return batch_.prefixes[(first_ + i) * batch_.tokens + t];
  }

  void grow(Decoder& decoder, size_t t, size_t* row_of, size_t* parent) const {
    const bool last = t + 1 == batch_.tokens;
    size_t rows = 0;
    size_t before = 0;
    std::array<size_t, kDecodeRows> example;
    for (size_t i = 0; i < count_; ++i) {
      const size_t from = row_of[i];
      // At the last level every prefix has its own row, so that results stand in order.
      if (last || i == 0 || from != before || token(i, t) != token(i - 1, t)) {
        parent[rows] = from;
        example[rows++] = i;
      }
      before = from;
      row_of[i] = rows - 1;
    }
    decoder.grow(rows, [&](size_t m) { return std::pair(parent[m], token(example[m], t)); });
  }

  const PrefixBatch& batch_;
  size_t first_, count_;
};

}  // namespace

std::vector<size_t> prefix_runs(const PrefixBatch& batch) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < batch.users.size(); ++i) {
    if (i == 0 || batch.users[i] != batch.users[i - 1] || i - starts.back() == kDecodeRows)
      starts.push_back(i);
  }
  starts.push_back(batch.users.size());
  return starts;
}

void decode_prefixes(const Model& model, const UserMemory& memory, const PrefixBatch& batch,
                     size_t first, size_t last, float* logits, float* query) {
  PrefixRun(batch, first, last).decode(model, memory, logits, query);
}

}  // namespace mmgrec
