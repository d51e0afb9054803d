// A catalogue as a search sees it: what was built, plus what came since, minus what went.
//
// A prefix is a range of base leaves and a range of added leaves; either may be empty, and then
// stands where its leaves would be. So base.lo + added.lo is the prefix's place in the order of all
// Rec-IDs, which is how ties are broken: exactly as in a trie built afresh from the items there
// are.
#pragma once

#include <cstdint>

#include "trie/rank_set.h"
#include "trie/trie_view.h"

namespace mmgrec {

struct CatalogView {
  TrieView base;
  TrieView added;   // items == 0: nothing was added
  RankSet removed;  // ranks of base leaves that are gone; an added leaf that goes leaves no trace

  // Leaves are numbered: base ranks first (gone ones included), then added ranks.
  uint32_t leaves() const { return base.items + added.items; }
};

// A trie, or a snapshot of a live catalogue.
class Catalog {
 public:
  virtual ~Catalog() = default;
  virtual CatalogView view() const = 0;
};

}  // namespace mmgrec
