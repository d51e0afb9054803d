// The thread pool: every index once, from many callers, nested, and after a fork.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <new>
#include <thread>
#include <vector>

#include "check.h"
#include "parallel/pool.h"

using mmgrec::parallel_for;

namespace {

void check_loop(size_t count, unsigned threads) {
  std::vector<std::atomic<int>> seen(count);
  parallel_for(count, threads, [&](size_t i) { seen[i].fetch_add(1); });
  for (const auto& each : seen) CHECK(each.load() == 1);
}

void test_every_index_once() {
  for (const size_t count : {0, 1, 2, 7, 1000})
    for (const unsigned threads : {0u, 1u, 2u, 5u}) check_loop(count, threads);
  for (int i = 0; i < 2000; ++i) check_loop(3, 3);
}

// Workers that look out for the next loop, that fall asleep just now, and that sleep.
void test_pauses_between_loops() {
  for (int i = 0; i < 400; ++i) {
    check_loop(5, 3);
    std::this_thread::sleep_for(std::chrono::microseconds(i % 100));
  }
}

void test_idle_workers_sleep() {
  check_loop(5, 3);
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(std::clock() - before < CLOCKS_PER_SEC / 50);
}

void test_many_callers() {
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([] {
      for (int j = 0; j < 300; ++j) check_loop(17, 3);
    });
  }
  for (auto& each : callers) each.join();
}

void test_nested() {
  std::atomic<int> total{0};
  parallel_for(4, 3, [&](size_t) { parallel_for(5, 3, [&](size_t) { total.fetch_add(1); }); });
  CHECK(total.load() == 20);
}

void test_what_the_body_throws_is_thrown() {
  for (const unsigned threads : {1u, 3u}) {
    for (int i = 0; i < 200; ++i) {
      CHECK_THROWS(parallel_for(50, threads,
                                [](size_t at) {
                                  if (at % 7 == 3) throw std::bad_alloc();
                                }),
                   std::bad_alloc);
      check_loop(50, threads);
    }
  }
}

void test_child_after_fork() {
  check_loop(10, 2);
  const pid_t child = fork();
  if (child == 0) {
    check_loop(10, 2);
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void test_scratch_is_kept() {
  float* first = mmgrec::thread_scratch(1000);
  CHECK(reinterpret_cast<uintptr_t>(first) % 64 == 0);
  CHECK(mmgrec::thread_scratch(10) == first);
  mmgrec::thread_scratch(100000)[99999] = 1;
}

}  // namespace

int main() {
  test_child_after_fork();
  test_every_index_once();
  test_pauses_between_loops();
  test_idle_workers_sleep();
  test_many_callers();
  test_nested();
  test_what_the_body_throws_is_thrown();
  test_scratch_is_kept();
}
