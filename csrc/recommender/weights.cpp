#include "recommender/weights.h"

#include <algorithm>
#include <stdexcept>

#include "recommender/shape.h"
#include "trie/trie_view.h"

namespace mmgrec {
namespace {

std::string text_of(const std::vector<size_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

const float* Weights::get(const std::string& name, std::initializer_list<size_t> shape) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) throw std::invalid_argument("the weights lack " + name);
  const std::vector<size_t> wanted(shape);
  if (found->second.shape != wanted) {
    throw std::invalid_argument("the weight " + name + " has the shape " +
                                text_of(found->second.shape) + ", the model needs " +
                                text_of(wanted));
  }
  return found->second.data;
}

const NamedArray& Weights::rows_of(const std::string& name, size_t width) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) throw std::invalid_argument("the weights lack " + name);
  if (found->second.shape.size() != 2 || found->second.shape[1] != width) {
    throw std::invalid_argument("the weight " + name + " has the shape " +
                                text_of(found->second.shape) + ", the model needs rows of " +
                                std::to_string(width));
  }
  return found->second;
}

void RecommenderShape::check() const {
  const size_t numbers[] = {width,        item_width,     heads,         head_width,
                            feed_forward, encoder_layers, decoder_layers};
  if (std::ranges::find(numbers, size_t{0}) != std::end(numbers))
    throw std::invalid_argument("a width or number of layers or heads is 0");
  if (!(history_decay > 0 && history_decay <= 1))
    throw std::invalid_argument("history_decay is outside 0 to 1");
  if (level_sizes.empty() || level_sizes.size() > kMaxLevels)
    throw std::invalid_argument("a recommender needs 1 to " + std::to_string(kMaxLevels) +
                                " levels");
  for (const uint32_t size : level_sizes) {
    if (size == 0 || size > kMaxLevelSize)
      throw std::invalid_argument("a level size is outside 1 to " + std::to_string(kMaxLevelSize));
  }
}

}  // namespace mmgrec
