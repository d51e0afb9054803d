// Reductions over emulated lanes: the values, and the order in which a warp would add.
#include <cmath>

#include "check.h"
#include "trie/lane_group.h"

namespace {

using namespace mmgrec;

template <class Group>
void check_reductions() {
  PerLane<Group, float> x;
  Group::for_each_lane([&](unsigned lane) { x[lane] = static_cast<float>((lane * 7) % 32); });
  float sum = 0;
  float top = -1;
  for (unsigned lane = 0; lane < Group::lanes; ++lane) {
    sum += x[lane];
    top = std::fmax(top, x[lane]);
  }
  CHECK(Group::reduce_add(x) == sum);
  CHECK(Group::reduce_max(x) == top);
  const uint32_t odd = Group::ballot([](unsigned lane) { return lane % 2 == 1; });
  CHECK(Group::count(odd) == Group::lanes / 2);
  Group::for_each_lane([&](unsigned lane) { CHECK(lanes_before(odd, lane) == lane / 2); });
  if (odd != 0) CHECK(first_lane(odd) == 1);
  CHECK(first_lane(1) == 0 && first_lane(0x80000000u) == 31);
  CHECK(Group::broadcast(x, Group::lanes - 1) == x[Group::lanes - 1]);
  unsigned runs = 0;
  Group::once([&] { ++runs; });
  CHECK(runs == 1);
}

}  // namespace

int main() {
  check_reductions<HostGroup<1>>();
  check_reductions<HostGroup<32>>();
  // Lanes 0 and 16 meet first and cancel; added from lane 0 on, the 1 would be lost in 1e8.
  using Lanes = HostGroup<32>;
  PerLane<Lanes, float> x;
  Lanes::for_each_lane([&](unsigned lane) { x[lane] = lane == 0 ? 1e8f : 0.f; });
  x[1] = 1;
  x[16] = -1e8f;
  CHECK(Lanes::reduce_add(x) == 1);
}
