// A check that also holds in release builds, where assert() is empty.
#pragma once

#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                        \
    }                                                                      \
  } while (false)

#define CHECK_THROWS(expression, type) \
  do {                                 \
    bool thrown = false;               \
    try {                              \
      (void)(expression);              \
    } catch (const type&) {            \
      thrown = true;                   \
    }                                  \
    CHECK(thrown);                     \
  } while (false)
