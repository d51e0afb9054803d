// Counts what operator new is asked for, so that a test can say that a call takes no memory.
#pragma once

#include <cstddef>

namespace mmgrec {

size_t allocations();

}  // namespace mmgrec
