// A small pool of threads for data-parallel loops.
#pragma once

#include <cstddef>

namespace mmgrec {

using LoopBody = void (*)(void* context, size_t index);

// Calls body(context, i) for every i in [0, count), on the calling thread and up to `threads` - 1
// others; returns when all are done. What the body throws is thrown here, the first if there are
// several; indices that nobody has begun by then are left out.
//
//   indices are drawn from one atomic counter, so that uneven work balances itself
//   workers are started when first wanted, kept for the life of the process, and sleep in between;
//   for some microseconds after a loop they look out for the next one, because waking takes longer
//   than a short loop
//   while another caller has the pool, or inside a loop, the calling thread does everything itself
//   after fork() the child starts workers of its own
void parallel_for(size_t count, unsigned threads, LoopBody body, void* context);

template <class Body>
void parallel_for(size_t count, unsigned threads, Body&& body) {
  parallel_for(
      count, threads, [](void* context, size_t index) { (*static_cast<Body*>(context))(index); },
      &body);
}

// Memory of the calling thread, 64-byte aligned, at least so many floats. It grows and is kept, so
// that no call allocates after the first of its size; contents do not survive the next call.
float* thread_scratch(size_t floats);

}  // namespace mmgrec
